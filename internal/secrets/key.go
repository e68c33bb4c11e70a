// Package secrets makes keys, and says which of them are accepted when: the current one, and for
// a while the one that it has replaced. It knows nothing of where they are kept or delivered.
//
// A key is text of one form, so that a scanner finds one that has leaked and a mistyped one is
// told from a wrong one:
//
//	llmk_ + 43 base62 digits + 6 base62 digits     an API key
//	llmh_ + 43 base62 digits + 6 base62 digits     an HMAC key
//
// The 43 digits are 256 bits from the system's random source, most significant first. The 6
// digits are the CRC-32 (IEEE) of everything before them. Base62 is 0-9, A-Z, a-z.
package secrets

import (
	"crypto/rand"
	"errors"
	"fmt"
	"hash/crc32"
	"math/big"
	"regexp"
	"strings"

	"github.com/llmhost/llmhost/internal/hostfile"
)

const (
	keyBytes       = 32
	keyDigits      = 43 // 62^43 > 2^256
	checksumDigits = 6  // 62^6 > 2^32
)

const alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

var prefixes = map[string]string{hostfile.SecretAPIKey: "llmk_", hostfile.SecretHMAC: "llmh_"}

// Pattern finds keys of every kind in a text. What is around a key doesn't matter: in a log, a line
// break before it may be written as "\n".
var Pattern = regexp.MustCompile(`llm[kh]_[0-9A-Za-z]{49}`)

// NewKey makes a key of a kind of the host file's.
func NewKey(kind string) string {
	raw := make([]byte, keyBytes)
	_, _ = rand.Read(raw) // never fails
	return format(prefixes[kind], raw)
}

func format(prefix string, raw []byte) string {
	text := prefix + base62(new(big.Int).SetBytes(raw), keyDigits)
	return text + checksum(text)
}

// CheckKey tells what is wrong with a key's form. The error doesn't show the key.
func CheckKey(kind, key string) error {
	prefix := prefixes[kind]
	switch {
	case !strings.HasPrefix(key, prefix):
		return fmt.Errorf("it doesn't begin with %s", prefix)
	case len(key) != len(prefix)+keyDigits+checksumDigits:
		return fmt.Errorf("it has %d characters and not %d", len(key), len(prefix)+keyDigits+checksumDigits)
	}
	body := key[:len(prefix)+keyDigits]
	if checksum(body) != key[len(body):] {
		return errors.New("its checksum is wrong: it was mistyped or cut off")
	}
	return nil
}

func checksum(text string) string {
	return base62(big.NewInt(int64(crc32.ChecksumIEEE([]byte(text)))), checksumDigits)
}

// base62 writes a number with leading zeros.
func base62(n *big.Int, digits int) string {
	out := make([]byte, digits)
	base, digit := big.NewInt(int64(len(alphabet))), new(big.Int)
	for i := digits - 1; i >= 0; i-- {
		n.DivMod(n, base, digit)
		out[i] = alphabet[digit.Int64()]
	}
	return string(out)
}
