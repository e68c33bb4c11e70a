// Package zxcvbn takes the place of a module that Pulumi ESC's client needs and llmhost never
// runs; see the package beside it.
package zxcvbn

import "github.com/nbutton23/zxcvbn-go"

// PasswordStrength estimates how hard a text is to guess.
func PasswordStrength(text string, inputs []string) zxcvbn.MinEntropyMatch {
	return zxcvbn.PasswordStrength(text, inputs)
}
