package provider

import "testing"

func TestSameUnitText(t *testing.T) {
	for name, test := range map[string]struct {
		a, b string
		want bool
	}{
		"equal":                        {"[Unit]\n", "[Unit]\n", true},
		"no newline at the end":        {"[Unit]\n", "[Unit]", true},
		"empty lines at the end":       {"[Unit]\n", "[Unit]\n\n\n", true},
		"whitespace at line ends":      {"[Unit]\nA=1\n", "[Unit] \nA=1\t\r\n", true},
		"another value":                {"A=1\n", "A=2\n", false},
		"leading whitespace":           {"A=1\n", " A=1\n", false},
		"empty line in the middle":     {"A=1\nB=2\n", "A=1\n\nB=2\n", false},
		"continuation":                 {"A=1 \\\n2\n", "A=1 \\ \n2\n", false},
		"a comment is kept as it is":   {"# a\nA=1\n", "A=1\n", false},
		"whitespace between the words": {"A=1  2\n", "A=1 2\n", false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := sameUnitText(test.a, test.b); got != test.want {
				t.Errorf("sameUnitText(%q, %q) = %t", test.a, test.b, got)
			}
		})
	}
}
