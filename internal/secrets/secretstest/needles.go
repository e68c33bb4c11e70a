// Package secretstest looks for secrets where none may be.
package secretstest

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"io"
	"slices"
	"strings"
)

// Needles are secrets to look for, in every form in which they could have been written.
type Needles struct {
	forms []needle
	seed  map[string]bool
}

type needle struct {
	name string
	text []byte
}

// NewNeedles makes an empty set.
func NewNeedles() *Needles { return &Needles{seed: map[string]bool{}} }

const checksumDigits = 6

// inTheMiddle is how much of a key is enough to be sure that it is one, in characters. Its ends
// are left out: what cuts off the prefix or the checksum has leaked the key all the same.
const inTheMiddle = 30

// Add takes a key: as it is (which is also how URLs and JSON write it), in base64 wherever it
// begins in what was encoded, and in hexadecimal.
func (n *Needles) Add(name, key string) {
	if n.seed[key] {
		return
	}
	n.seed[key] = true
	middle := key[len(key)-checksumDigits-inTheMiddle : len(key)-checksumDigits]
	add := func(text string) { n.forms = append(n.forms, needle{name, []byte(text)}) }
	add(middle)
	add(hex.EncodeToString([]byte(middle)))
	add(strings.ToUpper(hex.EncodeToString([]byte(middle))))
	for shift := range 3 {
		encoded := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("\x00", shift) + middle))
		// What depends on the bytes before and after isn't part of it.
		add(strings.TrimRight(encoded, "=")[4 : len(encoded)-4])
	}
}

// Find reads to the end and returns the names of what it has found, sorted, each once.
func Find(r io.Reader, sets ...*Needles) ([]string, error) {
	found := map[string]bool{}
	longest := 0
	for _, set := range sets {
		for _, n := range set.forms {
			longest = max(longest, len(n.text))
		}
	}
	buf := make([]byte, 0, 1<<20)
	for {
		n, err := io.ReadFull(r, buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		for _, set := range sets {
			for _, needle := range set.forms {
				if !found[needle.name] && bytes.Contains(buf, needle.text) {
					found[needle.name] = true
				}
			}
		}
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			names := make([]string, 0, len(found))
			for name := range found {
				names = append(names, name)
			}
			slices.Sort(names)
			return names, nil
		}
		if err != nil {
			return nil, err
		}
		// What lies across two readings is found with the second.
		keep := min(longest, len(buf))
		buf = buf[:copy(buf[:keep], buf[len(buf)-keep:])]
	}
}
