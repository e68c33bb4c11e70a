package secrets

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/llmhost/llmhost/internal/hostfile"
)

var now = time.Date(2026, 12, 1, 10, 0, 0, 0, time.UTC)

// The form is documented, and scanners are told of it.
func TestFormOfKeys(t *testing.T) {
	for kind, want := range map[string]string{
		hostfile.SecretAPIKey: "llmk_" + strings.Repeat("0", 42) + "1" + "",
		hostfile.SecretHMAC:   "llmh_" + strings.Repeat("0", 42) + "1" + "",
	} {
		one := make([]byte, keyBytes)
		one[keyBytes-1] = 1
		key := format(prefixes[kind], one)
		if !strings.HasPrefix(key, want) || CheckKey(kind, key) != nil {
			t.Errorf("%s: %s", kind, key)
		}
	}
	if key := format("llmk_", bytes.Repeat([]byte{0xff}, keyBytes)); len(key) != 54 || CheckKey(hostfile.SecretAPIKey, key) != nil {
		t.Errorf("the largest key: %s", key)
	}
	seen := map[string]bool{}
	for range 100 {
		key := NewKey(hostfile.SecretAPIKey)
		if err := CheckKey(hostfile.SecretAPIKey, key); err != nil || Pattern.FindString("key="+key+";") != key || seen[key] {
			t.Fatalf("%s: %v", key, err)
		}
		seen[key] = true
	}
}

func TestMistypedKeysAreTold(t *testing.T) {
	key := NewKey(hostfile.SecretAPIKey)
	swapped := []byte(key)
	for i := 6; swapped[i-1] == swapped[i] || i == 6; i++ {
		swapped = []byte(key)
		swapped[i], swapped[i+1] = swapped[i+1], swapped[i]
		if string(swapped) != key {
			break
		}
	}
	for name, c := range map[string]struct{ key, want string }{
		"two digits swapped": {string(swapped), "checksum"},
		"cut off":            {key[:20], "20 characters"},
		"another kind":       {NewKey(hostfile.SecretHMAC), "llmk_"},
		"somebody else's":    {"sk-proj-1234", "llmk_"},
	} {
		if err := CheckKey(hostfile.SecretAPIKey, c.key); err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), c.key) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestRotationOverlaps(t *testing.T) {
	values := func(keys []Key) (list []string) {
		for _, k := range keys {
			list = append(list, k.Value)
		}
		return list
	}
	first := Generate(hostfile.SecretAPIKey, now)
	second := first.Rotate(now.Add(time.Hour), 24*time.Hour)
	if got := values(second.Accepted(now.Add(24 * time.Hour))); len(got) != 2 || got[1] != first.Current().Value || got[0] == got[1] {
		t.Errorf("within the overlap %d keys are accepted", len(got))
	}
	if got := values(second.Accepted(now.Add(25 * time.Hour))); len(got) != 1 || got[0] != second.Current().Value {
		t.Errorf("after the overlap %d keys are accepted", len(got))
	}
	// Another rotation within the overlap doesn't lengthen the first key's time.
	third := second.Rotate(now.Add(2*time.Hour), 24*time.Hour)
	if got := third.Accepted(now.Add(25*time.Hour - time.Second)); len(got) != 3 || !got[2].Expires.Equal(now.Add(25*time.Hour)) {
		t.Errorf("after two rotations: %v", got)
	}
	if got := third.Accepted(now.Add(25 * time.Hour)); len(got) != 2 {
		t.Errorf("after the first key's end: %v", got)
	}
	// A leaked key is out at once, and so are those before it.
	leaked := third.Rotate(now.Add(3*time.Hour), 0)
	if got := leaked.Accepted(now.Add(3 * time.Hour)); len(got) != 1 || len(leaked.Keys) != 1 {
		t.Errorf("after a rotation without overlap: %v", got)
	}
	if old := second.Rotate(now.Add(100*time.Hour), time.Hour); len(old.Keys) != 2 {
		t.Errorf("a key whose time is over is kept: %v", old.Keys)
	}
}

func TestWhatIsKeptIsRead(t *testing.T) {
	s := Generate(hostfile.SecretHMAC, now).Rotate(now.Add(time.Hour), time.Hour)
	text, err := s.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	back, err := Parse(text)
	if diff := cmp.Diff(s, back); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	for name, bad := range map[string]string{
		"a plain key":  s.Current().Value,
		"no kind":      strings.Replace(text, "hmac", "", 1),
		"no keys":      `{"kind": "hmac", "keys": []}`,
		"a cut key":    strings.Replace(text, s.Current().Value, s.Current().Value[:30], 1),
		"two current":  strings.Replace(text, `"expires"`, `"expired"`, 1),
		"another kind": strings.Replace(text, "hmac", "api-key", 1),
	} {
		_, err := Parse(bad)
		if err == nil {
			t.Errorf("%s was accepted", name)
		} else if strings.Contains(err.Error(), s.Current().Value[5:20]) {
			t.Errorf("%s: the error shows the key: %v", name, err)
		}
	}
}

// A key that is printed by mistake, in a log or in an error, isn't shown.
func TestPrintedKeysAreHidden(t *testing.T) {
	s := Generate(hostfile.SecretAPIKey, now)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		if text := fmt.Sprintf(verb, s); strings.Contains(text, s.Current().Value) {
			t.Errorf("%s shows %s", verb, text)
		}
	}
}
