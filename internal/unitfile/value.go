package unitfile

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Bool reads a boolean in any of systemd's spellings.
func Bool(value string) (is, ok bool) {
	switch strings.ToLower(value) {
	case "1", "yes", "y", "true", "t", "on":
		return true, true
	case "0", "no", "n", "false", "f", "off":
		return false, true
	}
	return false, false
}

// sizeUnits are powers of 1024.
const sizeUnits = "BKMGTPE"

// Size reads a number of bytes such as "8G" or "1.5G".
func Size(value string) (uint64, bool) {
	number, unit := strings.TrimSpace(value), 0
	if number != "" {
		if i := strings.IndexByte(sizeUnits, number[len(number)-1]); i >= 0 {
			number, unit = strings.TrimRight(number[:len(number)-1], " \t"), i
		}
	}
	if !isDecimal(number) {
		return 0, false
	}
	factor := uint64(1) << (10 * unit)
	if n, err := strconv.ParseUint(number, 10, 64); err == nil {
		if n > math.MaxUint64/factor {
			return 0, false
		}
		return n * factor, true
	}
	f, err := strconv.ParseFloat(number, 64)
	if f *= float64(factor); err != nil || f >= math.MaxInt64 || f != math.Trunc(f) {
		return 0, false
	}
	return uint64(f), true
}

// isDecimal tells whether a text is digits, with a point in between at most.
func isDecimal(s string) bool {
	whole, fraction, point := strings.Cut(s, ".")
	digits := func(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }
	return digits(whole) && (!point || digits(fraction))
}

// spans are the units of systemd.time(7). A month is 30.44 days and a year 365.25.
var spans = map[string]time.Duration{
	"usec": time.Microsecond, "us": time.Microsecond, "µs": time.Microsecond, "μs": time.Microsecond,
	"msec": time.Millisecond, "ms": time.Millisecond,
	"seconds": time.Second, "second": time.Second, "sec": time.Second, "s": time.Second, "": time.Second,
	"minutes": time.Minute, "minute": time.Minute, "min": time.Minute, "m": time.Minute,
	"hours": time.Hour, "hour": time.Hour, "hr": time.Hour, "h": time.Hour,
	"days": day, "day": day, "d": day,
	"weeks": 7 * day, "week": 7 * day, "w": 7 * day,
	"months": 2629800 * time.Second, "month": 2629800 * time.Second, "M": 2629800 * time.Second,
	"years": 31557600 * time.Second, "year": 31557600 * time.Second, "y": 31557600 * time.Second,
}

const day = 24 * time.Hour

// Span reads a time span such as "5min", "1h 30min" or "1.5". A number without a unit is seconds.
func Span(value string) (time.Duration, bool) {
	rest := strings.Trim(value, whitespace)
	if rest == "" {
		return 0, false
	}
	var total time.Duration
	for rest != "" {
		number := rest[:len(rest)-len(strings.TrimLeft(rest, "0123456789."))]
		rest = strings.TrimLeft(rest[len(number):], whitespace)
		name := rest
		if end := strings.IndexAny(rest, "0123456789."+whitespace); end >= 0 {
			name = rest[:end]
		}
		rest = strings.TrimLeft(rest[len(name):], whitespace)
		unit, known := spans[name]
		if !known || !isDecimal(number) {
			return 0, false
		}
		whole, fraction, _ := strings.Cut(number, ".")
		n, err := strconv.ParseInt(whole, 10, 64)
		if err != nil || n > int64(math.MaxInt64/unit) {
			return 0, false
		}
		part := time.Duration(n) * unit
		if fraction != "" {
			f, err := strconv.ParseFloat("0."+fraction, 64)
			if err != nil {
				return 0, false
			}
			part += time.Duration(f * float64(unit)).Truncate(time.Microsecond)
		}
		if total += part; total < part {
			return 0, false
		}
	}
	return total, true
}

// Word is a word of a value.
type Word struct {
	Text string
	// Bare says that it was written without quotes and escapes, so that it may stand for more
	// than itself: a semicolon ends a command.
	Bare bool
}

// Words splits a value as systemd.syntax(7) says, without quotes. Escapes such as \x20 are read
// only where unescape is set: unit names and lists of paths keep theirs.
func Words(value string, unescape bool) ([]Word, error) {
	var words []Word
	rest := strings.TrimLeft(value, whitespace)
	for rest != "" {
		word, after, err := firstWord(rest, unescape)
		if err != nil {
			return nil, err
		}
		words = append(words, word)
		rest = strings.TrimLeft(after, whitespace)
	}
	return words, nil
}

// Command splits a command line. A semicolon of its own, which begins another command, is a bare
// word; one that is written as \; is an argument (systemd.service(5)).
func Command(line string) ([]Word, error) {
	var words []Word
	rest := strings.TrimLeft(line, whitespace)
	for rest != "" {
		if after, ok := strings.CutPrefix(rest, `\;`); ok && strings.TrimLeft(after, whitespace) != after || rest == `\;` {
			words = append(words, Word{Text: ";"})
			rest = strings.TrimLeft(after, whitespace)
			continue
		}
		word, after, err := firstWord(rest, true)
		if err != nil {
			return nil, err
		}
		words = append(words, word)
		rest = strings.TrimLeft(after, whitespace)
	}
	return words, nil
}

// Texts are the words' texts.
func Texts(words []Word) []string {
	texts := make([]string, len(words))
	for i, w := range words {
		texts[i] = w.Text
	}
	return texts
}

func firstWord(s string, unescape bool) (word Word, rest string, err error) {
	var text strings.Builder
	word.Bare = true
	quote := byte(0)
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '\\' && unescape:
			word.Bare = false
			r, length, err := escape(s[i:])
			if err != nil {
				return word, "", err
			}
			text.WriteString(r)
			i += length - 1
		case c == '\\' && i+1 < len(s):
			text.WriteString(s[i : i+2])
			i++
		case quote != 0 && c == quote:
			quote = 0
		case quote == 0 && (c == '"' || c == '\''):
			word.Bare, quote = false, c
		case quote == 0 && strings.IndexByte(whitespace, c) >= 0:
			word.Text = text.String()
			return word, s[i:], nil
		default:
			text.WriteByte(c)
		}
	}
	if quote != 0 {
		return word, "", fmt.Errorf("the quote %c has no end", quote)
	}
	word.Text = text.String()
	return word, "", nil
}

var shortEscapes = map[byte]string{
	'a': "\a", 'b': "\b", 'f': "\f", 'n': "\n", 'r': "\r", 't': "\t", 'v': "\v",
	'\\': `\`, '"': `"`, '\'': `'`, 's': " ",
}

// escape reads the escape at the begin of s, and returns how long it is.
func escape(s string) (text string, length int, err error) {
	if len(s) < 2 {
		return "", 0, errors.New("a backslash at the end escapes nothing")
	}
	if t, ok := shortEscapes[s[1]]; ok {
		return t, 2, nil
	}
	digits, base, begin := 0, 16, 2
	switch s[1] {
	case 'x':
		digits = 2
	case 'u':
		digits = 4
	case 'U':
		digits = 8
	case '0', '1', '2', '3', '4', '5', '6', '7':
		digits, base, begin = 3, 8, 1
	default:
		return "", 0, fmt.Errorf("there is no escape %q", s[:2])
	}
	if len(s) < begin+digits {
		return "", 0, fmt.Errorf("the escape %q is too short", s)
	}
	n, err := strconv.ParseUint(s[begin:begin+digits], base, 32)
	if err != nil || n == 0 {
		return "", 0, fmt.Errorf("%q is no escape", s[:begin+digits])
	}
	length = begin + digits
	switch {
	case s[1] == 'u' || s[1] == 'U':
		if !utf8.ValidRune(rune(n)) {
			return "", 0, fmt.Errorf("%q is no character", s[:length])
		}
		return string(rune(n)), length, nil
	case n > 0xff:
		return "", 0, fmt.Errorf("%q is no byte", s[:length])
	default:
		return string([]byte{byte(n)}), length, nil
	}
}
