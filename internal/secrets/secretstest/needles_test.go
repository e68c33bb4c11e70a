package secretstest

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/llmhost/llmhost/internal/hostfile"
	"github.com/llmhost/llmhost/internal/secrets"
)

// The search of the leak test finds a key in every form and at every place.
func TestNeedlesAreFound(t *testing.T) {
	key, other := secrets.NewKey(hostfile.SecretAPIKey), secrets.NewKey(hostfile.SecretHMAC)
	needles := NewNeedles()
	needles.Add("key", key)
	for name, text := range map[string]string{
		"as it is":            key,
		"in a URL":            url.QueryEscape("Bearer " + key),
		"without its prefix":  key[5:],
		"without its end":     key[:len(key)-6],
		"hexadecimal":         hex.EncodeToString([]byte("x" + key)),
		"upper-case digits":   strings.ToUpper(hex.EncodeToString([]byte(key))),
		"base64":              base64.StdEncoding.EncodeToString([]byte(key)),
		"base64, one later":   base64.StdEncoding.EncodeToString([]byte("a" + key)),
		"base64, two later":   base64.URLEncoding.EncodeToString([]byte("ab" + key + "c")),
		"basic authorization": base64.StdEncoding.EncodeToString([]byte("user:" + key)),
	} {
		for _, at := range []int{0, 1<<20 - 40, 1<<20 - 1, 3<<20 - 30} { // across what is read at once
			hay := append(bytes.Repeat([]byte("z"), at), text...)
			if found, err := Find(bytes.NewReader(append(hay, "zzz"...)), needles); err != nil || !slices.Equal(found, []string{"key"}) {
				t.Errorf("%s at %d: %v, %v", name, at, found, err)
			}
		}
	}
	if found, err := Find(strings.NewReader(other+strings.Repeat("z", 3<<20)), needles); err != nil || len(found) != 0 {
		t.Errorf("in what doesn't hold it: %v, %v", found, err)
	}
}
