package systemd

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/llmhost/llmhost/internal/unitfile"
)

func TestExamplesAreReadBack(t *testing.T) {
	for name, want := range examples() {
		t.Run(name, func(t *testing.T) {
			text, err := want.Text()
			if err != nil {
				t.Fatal(err)
			}
			got, err := Parse(name, text)
			if err != nil {
				t.Fatal(err)
			}
			if want.Kind == "" {
				want.Kind = KindService
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// Every unit that llmhost writes has only directives with fields, and is the same when it is
// read and written again.
func TestEveryGoldenUnitIsReadBack(t *testing.T) {
	var files []string
	for _, k := range kinds {
		for _, folder := range []string{"../*/testdata/*.", "../*/testdata/*/*."} {
			found, err := filepath.Glob(folder + string(k))
			if err != nil {
				t.Fatal(err)
			}
			files = append(files, found...)
		}
	}
	if len(files) < 10 {
		t.Fatalf("only %v were found", files)
	}
	for _, file := range files {
		t.Run(file, func(t *testing.T) {
			content, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			u, err := Parse(filepath.Base(file), string(content))
			if err != nil {
				t.Fatal(err)
			}
			text, err := u.Text()
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(content), text); diff != "" {
				t.Errorf("(-golden +read and written):\n%s", diff)
			}
		})
	}
}

func TestParseReadsWhatPeopleWrite(t *testing.T) {
	got, err := Parse("a.service", `# by hand
[Unit]
After = a.target
After=b.target \
  # and, after a comment
  c.target

[Service]
ExecStart=/bin/old
ExecStart=
ExecStart=/bin/new 'a b' "c\x20d" \; e
Restart=no
Restart=always
PrivateTmp=true
NoNewPrivileges=1
MemoryMax=1.5G
TimeoutStopSec=1min 30s
UMask=77
Environment=A=1 "B=2 3"
Environment=A=4
DeviceAllow=/dev/null   rw
LimitCORE=0:0
`)
	if err != nil {
		t.Fatal(err)
	}
	want := Unit{
		Kind: KindService,
		Unit: UnitSection{After: Words{"a.target", "b.target", "c.target"}},
		Service: ServiceSection{
			ExecStart: Command{"/bin/new", "a b", "c d", ";", "e"},
			Restart:   "always", PrivateTmp: "true", NoNewPrivileges: Yes,
			MemoryMax: new(Bytes(3 << 29)), TimeoutStopSec: Duration(90 * time.Second), UMask: "0077",
			Environment: Environment{"A": "4", "B": "2 3"},
			DeviceAllow: DevicesAllowed{{"/dev/null", "rw"}}, LimitCORE: new(Bytes(0)),
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestWhatHasNoFieldIsNamed(t *testing.T) {
	u, err := Parse("a.service", "[Service]\nUser=a\nExecStartt=/bin/a\n[Timer]\nPersistent=yes\n[X-Mine]\nA=1\nA=2\n")
	var unknown *UnknownError
	if !errors.As(err, &unknown) {
		t.Fatalf("got %v", err)
	}
	want := []string{"Service.ExecStartt", "Timer.Persistent", "X-Mine.A"}
	if diff := cmp.Diff(want, unknown.Directives); diff != "" || u.Service.User != "a" {
		t.Errorf("user %q, (-want +got):\n%s", u.Service.User, diff)
	}
}

func TestWhatAFieldCanNotHoldIsRefused(t *testing.T) {
	for line, want := range map[string]string{
		"ExecStart=/bin/sh -c $HOME":         "ExecStart=: the variable",
		"ExecStart=/bin/a %i":                "ExecStart=: the specifier",
		"ExecStart=/bin/a ; /bin/b":          "ExecStart=: there is more than one command",
		"ExecStart=/bin/a\nExecStart=/bin/b": "ExecStart=: there is more than one command",
		"ExecStart=+/bin/a":                  "ExecStart=: the program",
		`ExecStart=/bin/a "b`:                "ExecStart=: the quote",
		`ExecStart=/bin/a \q`:                "ExecStart=: there is no escape",
		"NoNewPrivileges=maybe":              "NoNewPrivileges=: ",
		"RestartSec=soon":                    "RestartSec=: ",
		"RestartSec=1us":                     "RestartSec=: ",
		"MemoryMax=50%":                      "MemoryMax=: ",
		"LimitCORE=1:2":                      "LimitCORE=: ",
		"TasksMax=0x10":                      "TasksMax=: ",
		"CPUQuota=half":                      "CPUQuota=: ",
		"UMask=99":                           "UMask=: ",
		"DeviceAllow=/dev/null":              "DeviceAllow=: ",
		"RootDirectory=%h":                   "RootDirectory=: the specifier",
		"Environment=A":                      "Environment=: ",
		"RestrictNamespaces=cgroup":          "RestrictNamespaces=: ",
		"AppArmorProfile=-a":                 "AppArmorProfile=: ",
		"LoadCredential=a:relative":          "LoadCredential=: ",
	} {
		if _, err := Parse("a.service", "[Service]\n"+line+"\n"); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: got %v, want an error that begins with %q", line, err, want)
		}
	}
	for _, name := range []string{"a.mount", "a", ""} {
		if _, err := Parse(name, "[Unit]\n"); err == nil {
			t.Errorf("%q was taken for the name of a unit", name)
		}
	}
}

// A directive that can be written and isn't known to the comparison would be compared by its
// characters, so that a hand's other spelling would be drift.
func TestEveryDirectiveIsKnownToTheComparison(t *testing.T) {
	for _, s := range new(Unit).sections() {
		typ := reflect.TypeOf(s.fields).Elem()
		for i := range typ.NumField() {
			name := typ.Field(i).Name
			if strings.HasPrefix(name, "Listen") && s.name == "Socket" {
				name = "Listen"
			}
			if !unitfile.Known(name) {
				t.Errorf("%s.%s isn't known to internal/unitfile", s.name, name)
			}
		}
	}
}

// Any other value of any directive is a difference: what the comparison takes for the same would
// never be seen as drift.
func TestEveryChangeIsADifference(t *testing.T) {
	for _, s := range new(Unit).sections() {
		typ := reflect.TypeOf(s.fields).Elem()
		for i := range typ.NumField() {
			field := typ.Field(i)
			pair := samples(t, field.Type)
			var texts []string
			for _, v := range []reflect.Value{reflect.Zero(field.Type), pair[0], pair[1]} {
				u := Unit{Kind: s.kind}
				for _, mine := range u.sections() {
					if mine.name == s.name {
						reflect.ValueOf(mine.fields).Elem().Field(i).Set(v)
					}
				}
				text, err := u.Text()
				if err != nil {
					t.Fatalf("%s.%s: %v", s.name, field.Name, err)
				}
				texts = append(texts, text)
			}
			for a := range texts {
				for b := range texts {
					if same := unitfile.Same(texts[a], texts[b]); same != (a == b) {
						t.Errorf("%q and %q are the same: %t", texts[a], texts[b], same)
					}
				}
			}
		}
	}
}

// samples are two values of a directive's type.
func samples(t *testing.T, typ reflect.Type) [2]reflect.Value {
	t.Helper()
	pairs := []any{
		Text("a"), Text("b"), Texts{"a"}, Texts{"a", "b"}, Keyword("a"), Keyword("b"), Yes, No, Duration(time.Second), Duration(time.Minute),
		new(Bytes(1)), new(Bytes(1024)), new(Count(1)), new(Count(2)), new(Integer(-1)), new(Integer(1)),
		Mode("0600"), Mode("0700"), Words{"a"}, Words{"a", "b"}, Lines{{"a"}}, Lines{{"a"}, {"~b"}},
		Path("/a"), Path("/b"), Paths{"/a"}, Paths{"/a", "/b"}, Environment{"A": "1"}, Environment{"A": "2"},
		Command{"/a", "b c"}, Command{"/a", "b", "c"}, Commands{{"/a"}}, Commands{{"/a"}, {"/a"}},
		Binds{{Source: "/a"}}, Binds{{Source: "/a", Optional: true}}, Percent(50), Percent(100),
		TemporaryFileSystems{{Path: "/a"}}, TemporaryFileSystems{{Path: "/a", Options: []string{"ro"}}},
		DevicesAllowed{{"/dev/null", "r"}}, DevicesAllowed{{"/dev/null", "rw"}},
		Conditions{{Path: "/a"}}, Conditions{{Path: "/a", Not: true}}, Listeners{"/a"}, Listeners{"127.0.0.1:1"},
		Credentials{{Name: "a"}}, Credentials{{Name: "a", Path: "/a"}},
		SealedCredentials{{"a", "YQ=="}}, SealedCredentials{{"a", "Yg=="}}, Profile("a"), Profile("b"),
		Arguments{"b c"}, Arguments{"b", "c"}, Setting("a"), Setting("b"), Settings{"a"}, Settings{"a", "b"},
	}
	i := slices.IndexFunc(pairs, func(v any) bool { return reflect.TypeOf(v) == typ })
	if i < 0 {
		t.Fatalf("there is no sample of a %s", typ)
	}
	return [2]reflect.Value{reflect.ValueOf(pairs[i]), reflect.ValueOf(pairs[i+1])}
}

// FuzzParse expects that what was read can be written, means the same to systemd as what was
// read, and reads the same again.
func FuzzParse(f *testing.F) {
	for name, u := range examples() {
		text, err := u.Text()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(name, text)
	}
	f.Add("a.service", "[Service]\nExecStart=/a \\; b\nEnvironment=A=%% 'B=$C'\nSystemCallFilter=\nCapabilityBoundingSet=~CAP_CHOWN\n")
	f.Fuzz(func(t *testing.T, name, text string) {
		u, err := Parse(name, text)
		if err != nil {
			return // refused, so that nothing is built on it
		}
		written, err := u.Text()
		if err != nil {
			t.Fatalf("%q was read and can't be written: %v", text, err)
		}
		if !unitfile.Same(text, written) {
			t.Errorf("%q was written as %q, which isn't the same", text, written)
		}
		again, err := Parse(name, written)
		if err != nil && !strings.Contains(err.Error(), "line too long") {
			t.Fatalf("%q was written as %q, which can't be read: %v", text, written, err)
		}
		if second, _ := again.Text(); err == nil && second != written {
			t.Errorf("%q was written as %q", written, second)
		}
	})
}
