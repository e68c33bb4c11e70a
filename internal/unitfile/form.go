package unitfile

import (
	"slices"
	"strconv"
	"strings"
)

// form brings the values that are assigned to one directive, in their order, into the one form
// that all spellings of them have. None means that systemd's default holds.
type form func(values []string) []string

// raw is the form of what isn't known better, and of lists from which an empty assignment takes
// back more than their own values.
func raw(values []string) []string { return values }

// each is a raw list whose values have several spellings.
func each(spell func(string) string) form {
	return func(values []string) []string {
		all := make([]string, len(values))
		for i, v := range values {
			all[i] = spell(v)
		}
		return all
	}
}

// last is of directives that have one value: the last assignment counts. An empty one takes back
// what was before for some directives and is ignored for others.
func last(spell func(string) string) form {
	return func(values []string) []string {
		v := values[len(values)-1]
		if v == "" {
			return values
		}
		return []string{spell(v)}
	}
}

func asIs(v string) string { return v }

func boolean(v string) string {
	if is, ok := Bool(v); ok {
		return strconv.FormatBool(is)
	}
	return v
}

func size(v string) string {
	if n, ok := Size(v); ok {
		return strconv.FormatUint(n, 10)
	}
	return v
}

// limit is a soft and a hard limit; one alone is both.
func limit(spell func(string) string) func(string) string {
	return func(v string) string {
		soft, hard, two := strings.Cut(v, ":")
		if soft, hard = spell(soft), spell(hard); !two || soft == hard {
			return soft
		}
		return soft + ":" + hard
	}
}

func span(v string) string {
	if d, ok := Span(v); ok {
		return d.String()
	}
	return v
}

func octal(v string) string {
	if n, err := strconv.ParseUint(v, 8, 32); err == nil {
		return strconv.FormatUint(n, 8)
	}
	return v
}

// afterReset drops what an empty assignment takes back.
func afterReset(values []string) []string {
	for i := len(values) - 1; i >= 0; i-- {
		if values[i] == "" {
			return values[i+1:]
		}
	}
	return values
}

// split are the words of all values. ok is false when one can't be split; then the values are
// compared as they are.
func split(values []string, unescape bool) (words []string, ok bool) {
	for _, v := range values {
		w, err := Words(v, unescape)
		if err != nil {
			return values, false
		}
		words = append(words, Texts(w)...)
	}
	return words, true
}

func sorted(words []string) []string {
	words = slices.Clone(words)
	slices.Sort(words)
	return slices.Compact(words)
}

// set is of lists whose order has no meaning.
func set(values []string) []string {
	words, ok := split(afterReset(values), false)
	if !ok || len(words) == 0 {
		return words
	}
	return sorted(words)
}

// dependencies is of lists of units, from which nothing can be taken back (systemd.unit(5)).
func dependencies(values []string) []string {
	return set(slices.DeleteFunc(slices.Clone(values), func(v string) bool { return v == "" }))
}

// list is of lists whose order has a meaning, on one line or on several.
func list(values []string) []string {
	words, _ := split(afterReset(values), false)
	return words
}

// signed is of sets to which a line adds, or from which it takes with a "~" in front. What lines
// of one kind say in a row, one line could say.
func signed(values []string) []string {
	values = afterReset(values)
	var all []string
	for i := 0; i < len(values); {
		takes := strings.HasPrefix(values[i], "~")
		var words []string
		for ; i < len(values) && strings.HasPrefix(values[i], "~") == takes; i++ {
			w, ok := split([]string{strings.TrimPrefix(values[i], "~")}, false)
			if !ok {
				return values
			}
			words = append(words, w...)
		}
		line := strings.Join(sorted(words), " ")
		if takes {
			line = "~" + line
		}
		all = append(all, line)
	}
	return all
}

// capabilities is a signed set which an empty assignment doesn't leave to systemd's default but
// empties, so that nothing can be taken from it afterwards.
func capabilities(values []string) []string {
	is := signed(values)
	emptied := slices.Contains(values, "")
	if emptied && (len(is) == 0 || strings.HasPrefix(is[0], "~")) {
		return append([]string{""}, is...)
	}
	return is
}

// commands is of command lines: a program with its arguments.
func commands(values []string) []string {
	var all []string
	for _, v := range afterReset(values) {
		words, err := Command(v)
		if err != nil {
			all = append(all, "unreadable: "+v)
			continue
		}
		quoted := make([]string, len(words))
		for i, w := range words {
			if quoted[i] = strconv.Quote(w.Text); w.Bare && w.Text == ";" {
				quoted[i] = ";" // another command begins
			}
		}
		all = append(all, strings.Join(quoted, " "))
	}
	return all
}

// named is of NAME=VALUE or NAME:VALUE, in any order, of which the last with a name counts.
func named(separator string, oneLine bool) form {
	return func(values []string) []string {
		values = afterReset(values)
		words, ok := values, true
		if !oneLine {
			words, ok = split(values, true)
		}
		if !ok {
			return values
		}
		byName := map[string]string{}
		for _, w := range words {
			name, _, _ := strings.Cut(w, separator)
			byName[name] = w
		}
		var all []string
		for _, w := range byName {
			all = append(all, w)
		}
		slices.Sort(all)
		return all
	}
}

// devices is of a device with what may be done with it, in any order of its letters.
func devices(values []string) []string {
	var all []string
	for _, v := range afterReset(values) {
		words, ok := split([]string{v}, false)
		if ok && len(words) == 2 && strings.Trim(words[1], "rwm") == "" {
			words[1] = strings.Join(sorted(strings.Split(words[1], "")), "")
		}
		all = append(all, strings.Join(words, " "))
	}
	return sorted(all)
}
