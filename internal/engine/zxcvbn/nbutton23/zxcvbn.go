// Package zxcvbn estimates how hard a text is to guess, in place of the module of the same path.
//
// Pulumi asks one thing of that module: whether a value that is about to be stored in clear looks
// like a secret (`config set`). For it the module unpacks dictionaries of 37 MB whenever a
// program that holds it starts, which took two thirds of llmhost's start. Without dictionaries
// the estimate is never too low, so that Pulumi asks for --secret or --plaintext rather more often.
package zxcvbn

import "math"

// MinEntropyMatch is an estimate; Pulumi reads its Entropy alone.
type MinEntropyMatch struct {
	Entropy float64 // bits
}

// PasswordStrength estimates the entropy of a text as that of as many random characters of the
// kinds that are in it. A character that only repeats the one before adds nothing.
func PasswordStrength(text string, _ []string) MinEntropyMatch {
	var lower, upper, digit, other bool
	length, last := 0, rune(-1)
	for _, r := range text {
		if r != last {
			length++
		}
		last = r
		switch {
		case 'a' <= r && r <= 'z':
			lower = true
		case 'A' <= r && r <= 'Z':
			upper = true
		case '0' <= r && r <= '9':
			digit = true
		default:
			other = true
		}
	}
	kinds := 0.0
	for _, k := range []struct {
		there bool
		size  float64
	}{{lower, 26}, {upper, 26}, {digit, 10}, {other, 33}} { // 33: what else ASCII prints
		if k.there {
			kinds += k.size
		}
	}
	if length == 0 {
		return MinEntropyMatch{}
	}
	return MinEntropyMatch{Entropy: float64(length) * math.Log2(kinds)}
}
