package secrets

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Secret is what is kept of a secret: its keys, the current one first. It is one encrypted value
// of the stack's settings.
type Secret struct {
	Kind string `json:"kind"`
	Keys []Key  `json:"keys"`
}

// Key is one key of a secret.
type Key struct {
	// ID names the key where its value must not be: in restart triggers, lists and logs. It is
	// random, and says nothing of the value.
	ID      string    `json:"id"`
	Value   string    `json:"value"`
	Created time.Time `json:"created"`
	// Expires is when it ends to be accepted, in a key that was rotated out; zero in the current one.
	Expires time.Time `json:"expires,omitzero"`
}

// String keeps a key that is printed by mistake from being shown.
func (k Key) String() string { return "key " + k.ID }

// GoString is String, for %#v.
func (k Key) GoString() string { return k.String() }

// Generate makes a secret with one key.
func Generate(kind string, now time.Time) Secret {
	return Secret{Kind: kind, Keys: []Key{newKey(kind, now)}}
}

func newKey(kind string, now time.Time) Key {
	id := make([]byte, 4)
	_, _ = rand.Read(id) // never fails
	return Key{ID: hex.EncodeToString(id), Value: NewKey(kind), Created: now.UTC().Truncate(time.Second)}
}

// Rotate returns the secret with a new current key. The one that was current is accepted until
// now+overlap, and not at all with an overlap of 0. Keys that were rotated out before keep their
// time; those whose time is over are left out.
func (s Secret) Rotate(now time.Time, overlap time.Duration) Secret {
	keys := []Key{newKey(s.Kind, now)}
	end := now.UTC().Truncate(time.Second).Add(overlap)
	for _, k := range s.Keys {
		if k.Expires.IsZero() || overlap == 0 || k.Expires.After(end) {
			k.Expires = end
		}
		if k.Expires.After(now) {
			keys = append(keys, k)
		}
	}
	return Secret{Kind: s.Kind, Keys: keys}
}

// Accepted are the keys that clients may use at a time, the current one first.
func (s Secret) Accepted(now time.Time) []Key {
	return slices.DeleteFunc(slices.Clone(s.Keys), func(k Key) bool { return !k.Expires.IsZero() && !now.Before(k.Expires) })
}

// Current is the key that clients should use.
func (s Secret) Current() Key { return s.Keys[0] }

// Marshal writes the secret as it is kept.
func (s Secret) Marshal() (string, error) {
	text, err := json.Marshal(s)
	return string(text), err
}

// Parse reads what Marshal has written. No error shows a value.
func Parse(text string) (Secret, error) {
	var s Secret
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		return Secret{}, errors.New("it isn't a secret that llmhost has made")
	}
	if prefixes[s.Kind] == "" {
		return Secret{}, fmt.Errorf("it is of an unknown kind, %q", s.Kind)
	}
	if len(s.Keys) == 0 {
		return Secret{}, errors.New("it has no key")
	}
	for i, k := range s.Keys {
		if err := CheckKey(s.Kind, k.Value); err != nil {
			return Secret{}, fmt.Errorf("its key %d is damaged: %w", i+1, err)
		}
		if k.ID == "" || k.Created.IsZero() || k.Expires.IsZero() != (i == 0) {
			return Secret{}, fmt.Errorf("what is kept with its key %d is damaged", i+1)
		}
	}
	return s, nil
}

// ConfigKey is the name under which a secret is kept in the stack's settings, in the namespace
// llmhost.
func ConfigKey(name string) string { return "secret-" + name }
