package systemd

import (
	"cmp"
	"errors"
	"fmt"
	"path"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/llmhost/llmhost/internal/unitfile"
)

// UnknownError says which directives of a unit file no field stands for. The rest of the unit was
// read.
type UnknownError struct {
	Directives []string // as "Section.Directive", in their order
}

func (e *UnknownError) Error() string {
	return "no field stands for " + strings.Join(e.Directives, ", ")
}

// reader is a directive's field that is to be filled.
type reader interface {
	// read takes the right-hand sides of all lines of the directive, in their order.
	read(values []string) error
}

// Parse reads the text of a unit file of that name. Every directive that can't be read is in the
// error, by its name; directives without a field are in an UnknownError. What was read is
// returned with either.
func Parse(name, text string) (Unit, error) {
	u := Unit{Kind: Kind(strings.TrimPrefix(path.Ext(name), "."))}
	if !slices.Contains(kinds, u.Kind) {
		return Unit{}, fmt.Errorf("%q isn't the name of a service, socket, timer, path, slice or container", name)
	}
	return u, u.readAll(text)
}

func (u *Unit) readAll(text string) error {
	assignments, err := unitfile.Parse(text)
	if err != nil {
		return err
	}
	values := map[string][]string{}
	var order []string
	for _, a := range assignments {
		key := a.Section + "." + a.Directive
		if values[key] == nil {
			order = append(order, key)
		}
		values[key] = append(values[key], a.Value)
	}
	fields := u.readers()
	unknown := &UnknownError{}
	var faults []error
	for _, key := range order {
		field, ok := fields[key]
		if !ok {
			unknown.Directives = append(unknown.Directives, key)
			continue
		}
		if err := field.read(values[key]); err != nil {
			_, directive, _ := strings.Cut(key, ".")
			faults = append(faults, fmt.Errorf("%s=: %w", directive, err))
		}
	}
	if len(unknown.Directives) > 0 {
		faults = append(faults, unknown)
	}
	return errors.Join(faults...)
}

// readers are the fields of the sections that the unit's kind has, by section and directive.
// Those that are pointers come to hold a value when they are read.
func (u *Unit) readers() map[string]reader {
	all := map[string]reader{}
	for _, s := range u.sections() {
		if !u.Kind.has(s) {
			continue
		}
		fields := reflect.ValueOf(s.fields).Elem()
		for i := range fields.NumField() {
			all[s.name+"."+fields.Type().Field(i).Name] = readerOf(fields.Field(i))
		}
	}
	return all
}

func readerOf(field reflect.Value) reader {
	if field.Kind() == reflect.Pointer {
		return pointer{field}
	}
	return field.Addr().Interface().(reader)
}

// pointer is a field that is nil as long as its directive isn't there.
type pointer struct{ field reflect.Value }

func (p pointer) read(values []string) error {
	p.field.Set(reflect.New(p.field.Type().Elem()))
	return p.field.Interface().(reader).read(values)
}

// one is the value of a directive that has one: the last. An empty one takes back what was before
// for some directives and is ignored for others, so that it is refused.
func one(values []string) (string, error) {
	last := values[len(values)-1]
	if last == "" {
		return "", errors.New("it has no value")
	}
	return last, nil
}

// sinceReset are the values that no empty assignment takes back.
func sinceReset(values []string) []string {
	for i, v := range slices.Backward(values) {
		if v == "" {
			return values[i+1:]
		}
	}
	return values
}

// plain takes back escapeSpecifiers. What else begins with a percent sign is systemd's to expand.
func plain(s string) (string, error) {
	return unescape(s, '%', "the specifier %s depends on where the unit runs, and a field holds what is meant")
}

// unescape halves what is written twice, and refuses what is written once.
func unescape(s string, sign byte, refusal string) (string, error) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		b.WriteByte(s[i])
		if s[i] != sign {
			continue
		}
		if i++; i == len(s) || s[i] != sign {
			return "", fmt.Errorf(refusal, s[i-1:min(i+1, len(s))])
		}
	}
	return b.String(), nil
}

// words splits a value into words, of which none holds a specifier.
func words(value string, unescape bool) ([]string, error) {
	split, err := unitfile.Words(value, unescape)
	if err != nil {
		return nil, err
	}
	texts := unitfile.Texts(split)
	for i, w := range texts {
		if texts[i], err = plain(w); err != nil {
			return nil, err
		}
	}
	return texts, nil
}

// written refuses what was read and couldn't be written: it would be lost, or be another thing.
func written(v value) error {
	_, err := v.assignments()
	return err
}

func (t *Text) read(values []string) error {
	v, err := one(values)
	if err == nil {
		v, err = plain(v)
	}
	*t = Text(v)
	return cmp.Or(err, written(*t))
}

func (t *Texts) read(values []string) error {
	*t = nil
	for _, v := range values {
		var next Text
		if err := next.read([]string{v}); err != nil {
			return err
		}
		*t = append(*t, next)
	}
	return nil
}

func (k *Keyword) read(values []string) error {
	v, err := one(values)
	*k = Keyword(v)
	return cmp.Or(err, written(*k))
}

func (b *Bool) read(values []string) error {
	v, err := one(values)
	if err != nil {
		return err
	}
	is, ok := unitfile.Bool(v)
	if !ok {
		return fmt.Errorf("%q is no boolean", v)
	}
	*b = No
	if is {
		*b = Yes
	}
	return nil
}

func (d *Duration) read(values []string) error {
	v, err := one(values)
	if err != nil {
		return err
	}
	span, ok := unitfile.Span(v)
	if !ok {
		return fmt.Errorf("%q is no time span", v)
	}
	if span == 0 {
		return errors.New("a time span of zero can't be stated, since an unset field leaves it to systemd's default")
	}
	*d = Duration(span)
	return written(*d)
}

func (b *Bytes) read(values []string) error {
	v, err := one(values)
	if err != nil {
		return err
	}
	soft, hard, two := strings.Cut(v, ":")
	n, ok := unitfile.Size(soft)
	if two {
		if h, hardOK := unitfile.Size(hard); !hardOK || h != n {
			ok = false
		}
	}
	if !ok {
		return fmt.Errorf("%q isn't one number of bytes", v)
	}
	*b = Bytes(n)
	return nil
}

func (c *Count) read(values []string) error {
	n, err := number(values[len(values)-1], strconv.ParseUint)
	*c = Count(n)
	return err
}

func (i *Integer) read(values []string) error {
	n, err := number(values[len(values)-1], strconv.ParseInt)
	*i = Integer(n)
	return err
}

func number[N int64 | uint64](v string, parse func(string, int, int) (N, error)) (N, error) {
	n, err := parse(v, 10, 64)
	if err != nil || v != fmt.Sprint(n) {
		return 0, fmt.Errorf("%q is no number", v)
	}
	return n, nil
}

func (p *Percent) read(values []string) error {
	v, err := one(values)
	if err != nil {
		return err
	}
	text, isPercent := strings.CutSuffix(v, "%")
	n, err := number(text, strconv.ParseUint)
	if err != nil || !isPercent || n == 0 {
		return fmt.Errorf("%q is no percentage above zero", v)
	}
	*p = Percent(n)
	return nil
}

func (m *Mode) read(values []string) error {
	v, err := one(values)
	if err != nil {
		return err
	}
	if n, err := strconv.ParseUint(v, 8, 12); err == nil {
		v = fmt.Sprintf("%04o", n)
	}
	*m = Mode(v)
	return written(*m)
}

func (w *Words) read(values []string) error {
	list := Words{}
	for _, v := range sinceReset(values) {
		more, err := words(v, false)
		if err != nil {
			return err
		}
		list = append(list, more...)
	}
	*w = list
	return written(*w)
}

func (l *Lines) read(values []string) error {
	*l = nil
	for _, v := range sinceReset(values) {
		line := Words{}
		if err := line.read([]string{v}); err != nil {
			return err
		}
		*l = append(*l, line)
	}
	return nil
}

func (p *Path) read(values []string) error {
	v, err := one(values)
	if err == nil {
		v, err = plain(v)
	}
	*p = Path(v)
	return cmp.Or(err, written(*p))
}

func (p *Paths) read(values []string) error {
	*p = nil
	for _, v := range values {
		if v == "" {
			return errors.New("an empty path would take back those of the other directives too")
		}
		var next Path
		if err := next.read([]string{v}); err != nil {
			return err
		}
		*p = append(*p, next)
	}
	return nil
}

func (e *Environment) read(values []string) error {
	*e = Environment{}
	for _, v := range sinceReset(values) {
		all, err := words(v, true)
		if err != nil {
			return err
		}
		for _, assignment := range all {
			name, text, ok := strings.Cut(assignment, "=")
			if !ok {
				return fmt.Errorf("%q assigns nothing to a variable", assignment)
			}
			(*e)[name] = text
		}
	}
	if len(*e) == 0 {
		*e = nil
	}
	return written(*e)
}

func (c *Command) read(values []string) error {
	values = sinceReset(values)
	if len(values) > 1 {
		return errors.New("there is more than one command")
	}
	*c = nil
	for _, v := range values {
		split, err := unitfile.Command(v)
		if err != nil {
			return err
		}
		for i, w := range split {
			if w.Bare && w.Text == ";" {
				return errors.New("there is more than one command")
			}
			text, err := plain(w.Text)
			if err == nil && i > 0 {
				text, err = unescape(text, '$', "the variable %s is systemd's to expand, and a field holds what is meant")
			}
			if err != nil {
				return err
			}
			*c = append(*c, text)
		}
	}
	return written(*c)
}

func (c *Commands) read(values []string) error {
	*c = nil
	for _, v := range sinceReset(values) {
		var next Command
		if err := next.read([]string{v}); err != nil {
			return err
		}
		*c = append(*c, next)
	}
	return nil
}

func (c *Conditions) read(values []string) error {
	*c = nil
	for _, v := range values {
		text, not := strings.CutPrefix(v, "!")
		text, err := plain(text)
		if err != nil {
			return err
		}
		*c = append(*c, Condition{Path: text, Not: not})
	}
	return written(*c)
}

func (c *Credentials) read(values []string) error {
	*c = nil
	for _, v := range sinceReset(values) {
		v, err := plain(v)
		if err != nil {
			return err
		}
		name, file, _ := strings.Cut(v, ":")
		*c = append(*c, Credential{Name: name, Path: file})
	}
	return written(*c)
}

func (s *SealedCredentials) read(values []string) error {
	*s = nil
	for _, v := range sinceReset(values) {
		name, sealed, _ := strings.Cut(v, ":")
		*s = append(*s, SealedCredential{Name: name, Base64: sealed})
	}
	return written(*s)
}

func (b *Binds) read(values []string) error {
	*b = nil
	for _, v := range sinceReset(values) {
		all, err := words(v, false)
		if err != nil {
			return err
		}
		for _, w := range all {
			text, optional := strings.CutPrefix(w, "-")
			source, target, _ := strings.Cut(text, ":")
			*b = append(*b, Bind{Source: source, Target: target, Optional: optional})
		}
	}
	return written(*b)
}

func (t *TemporaryFileSystems) read(values []string) error {
	*t = nil
	for _, v := range sinceReset(values) {
		all, err := words(v, false)
		if err != nil {
			return err
		}
		for _, w := range all {
			if strings.Contains(w, `\`) {
				return fmt.Errorf("%q holds an escape", w)
			}
			at, options, has := strings.Cut(w, ":")
			fs := TemporaryFileSystem{Path: at}
			if has {
				fs.Options = strings.Split(options, ",")
			}
			*t = append(*t, fs)
		}
	}
	return written(*t)
}

func (d *DevicesAllowed) read(values []string) error {
	*d = nil
	for _, v := range sinceReset(values) {
		fields := strings.Fields(v)
		if len(fields) != 2 {
			return fmt.Errorf("%q isn't a device and what may be done with it", v)
		}
		*d = append(*d, DeviceAllowed{Device: fields[0], Access: fields[1]})
	}
	return written(*d)
}

func (l *Listeners) read(values []string) error {
	*l = nil
	for _, v := range sinceReset(values) {
		text, err := plain(v)
		if err != nil {
			return err
		}
		*l = append(*l, text)
	}
	return written(*l)
}

func (p *Profile) read(values []string) error {
	v, err := one(values)
	*p = Profile(v)
	return cmp.Or(err, written(*p))
}
