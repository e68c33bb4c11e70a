package unitfile

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestPairs(t *testing.T) {
	content, err := os.ReadFile("testdata/pairs.txt")
	if err != nil {
		t.Fatal(err)
	}
	counted := map[string]int{}
	for _, block := range strings.Split("\n"+string(content), "\n=== ")[1:] {
		head, texts, _ := strings.Cut(block, "\n")
		verdict, why, _ := strings.Cut(head, ": ")
		a, b, ok := strings.Cut(texts, "\n---\n")
		if !ok {
			t.Fatalf("%q holds no pair", block)
		}
		counted[verdict]++
		t.Run(why, func(t *testing.T) {
			a, b := whole(a), whole(b)
			for _, pair := range [][2]string{{a, b}, {b, a}} {
				if got := Same(pair[0], pair[1]); got != (verdict == "same") {
					t.Errorf("the same: %t\n%s\n---\n%s", got, pair[0], pair[1])
				}
			}
			if !Same(a, a+"\n") || !Same(b, b+"\n") {
				t.Error("a text isn't the same as itself with another empty line")
			}
		})
	}
	if counted["same"] < 20 || counted["differs"] < 20 || len(counted) != 2 {
		t.Errorf("the pairs are %v", counted)
	}
}

// whole is a unit of a service, also where only its directives are given.
func whole(text string) string {
	if strings.HasPrefix(text, "[") {
		return text
	}
	if !strings.Contains(text, "ExecStart=") {
		text = "ExecStart=/bin/true\n" + text
	}
	return "[Service]\n" + text
}

// What nobody has taught this package is compared by its characters.
func TestWhatIsUnknownIsComparedAsItIs(t *testing.T) {
	for _, pair := range [][2]string{
		{"[X-Mine]\nA=1\n", "[X-Mine]\nA=01\n"},
		{"[Service]\nSomethingNew=yes\n", "[Service]\nSomethingNew=true\n"},
		{"[Service]\nSomethingNew=a\nSomethingNew=\n", "[Service]\n"},
		{"[Service]\nA=1\n", "[Service]\nA=1\n[Service"},
		{"A=1\n", "A=2\n"},
		{"[Service]\nPrivateNetwork=yes\nPrivateNetwork=\n", "[Service]\nPrivateNetwork=\n"},
	} {
		if Same(pair[0], pair[1]) {
			t.Errorf("%q and %q are the same", pair[0], pair[1])
		}
	}
}

func TestTheOrderOfSockets(t *testing.T) {
	const a, b = "[Socket]\nListenStream=/a\nListenDatagram=/b\n", "[Socket]\nListenDatagram=/b\nListenStream=/a\n"
	if Same(a, b) {
		t.Error("a service gets its sockets in their order")
	}
	if !Same(a, "[Socket]\nListenStream=/c\nListenDatagram=\n"+a) {
		t.Error("an empty assignment takes back all sockets")
	}
}

func TestParse(t *testing.T) {
	got, err := Parse("\ufeff# a\n[Unit]\r\nDescription=a \\\n;c\n b\n\n[Service]\nExecStart=/bin/a \\\\\nType=exec\nEnvironment=\\")
	if err != nil {
		t.Fatal(err)
	}
	want := []Assignment{
		{"Unit", "Description", "a  b"}, {"Service", "ExecStart", `/bin/a \\`}, {"Service", "Type", "exec"}, {"Service", "Environment", ""},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestParseRefuses(t *testing.T) {
	for _, text := range []string{
		"", "\n# a comment\n", "hello", "A=1\n[Service]\n", "[Service]\nA\n", "[Service]\n=1\n", "[Service\nA=1\n", "[Service] x\nA=1\n",
		"[Service]\nA=\x00\n", "[Service]\nA=\xff\n", "x=[Service]\nA=1\n",
		"[Service]\nA=" + strings.Repeat("a", 5000),
	} {
		if got, err := Parse(text); err == nil {
			t.Errorf("%.40q was read as %.100v", text, got)
		}
	}
}

func TestSpan(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"1": time.Second, "90": 90 * time.Second, "1.5": 1500 * time.Millisecond, "2min": 2 * time.Minute, "1h30min": 90 * time.Minute,
		"1 h 2 s": time.Hour + 2*time.Second, "100us": 100 * time.Microsecond, "1w": 168 * time.Hour, "1y": 31557600 * time.Second, "0": 0, "5 m": 5 * time.Minute,
	} {
		if got, ok := Span(text); !ok || got != want {
			t.Errorf("%q: %v, %t, want %v", text, got, ok, want)
		}
	}
	for _, text := range []string{"", "infinity", "-1", "1x", "min", "1.", ".5", "1..2s", "99999999999999999999", "999999999999y", "1e3"} {
		if got, ok := Span(text); ok {
			t.Errorf("%q is %v", text, got)
		}
	}
}

func TestSize(t *testing.T) {
	for text, want := range map[string]uint64{"0": 0, "1": 1, "1K": 1024, "1.5G": 3 << 29, "8 M": 8 << 20, "1E": 1 << 60, "7B": 7, "18446744073709551615": 1<<64 - 1} {
		if got, ok := Size(text); !ok || got != want {
			t.Errorf("%q: %d, %t, want %d", text, got, ok, want)
		}
	}
	for _, text := range []string{"", "K", "infinity", "10%", "-1", "1.3K", "16E", "1KB", "1e3", "0x10"} {
		if got, ok := Size(text); ok {
			t.Errorf("%q is %d", text, got)
		}
	}
}

func TestWords(t *testing.T) {
	got, err := Words(`a 'b c'"d" \x41 "\u00fc" ; ""`, true)
	if err != nil {
		t.Fatal(err)
	}
	want := []Word{{"a", true}, {"b cd", false}, {"A", false}, {"ü", false}, {";", true}, {"", false}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	kept, err := Words(`a\x2db.service`, false)
	if err != nil || kept[0].Text != `a\x2db.service` {
		t.Errorf("the escape in a unit's name: %v, %v", kept, err)
	}
	for _, text := range []string{`"a`, `\`, `\q`, `\x0`, `\x00`, `\777`, `\ud800`, `'`} {
		if got, err := Words(text, true); err == nil {
			t.Errorf("%q is %v", text, got)
		}
	}
}

// FuzzSame expects that nothing makes it fail, that a text is the same as itself, and that what
// can't be read is the same as nothing else.
func FuzzSame(f *testing.F) {
	content, err := os.ReadFile("testdata/pairs.txt")
	if err != nil {
		f.Fatal(err)
	}
	for _, block := range strings.Split(string(content), "\n=== ")[1:] {
		a, b, _ := strings.Cut(block, "\n---\n")
		f.Add(a, b)
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		if !Same(a, a) {
			t.Errorf("%q isn't the same as itself", a)
		}
		if Same(a, b) != Same(b, a) {
			t.Errorf("%q and %q are the same in one direction", a, b)
		}
		_, errA := Parse(a)
		_, errB := Parse(b)
		if (errA == nil) != (errB == nil) && Same(a, b) {
			t.Errorf("%q and %q are the same, and only one can be read", a, b)
		}
		if errA != nil {
			if _, err := Parse(a + "\n# a comment\n"); err == nil {
				t.Errorf("%q is refused without a comment, and not with one", a)
			}
		}
	})
}
