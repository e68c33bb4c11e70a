package systemd

import (
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/coreos/go-systemd/v22/unit"
	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files anew")

// examples have every directive's type in them, by the name of the golden file.
func examples() map[string]Unit {
	return map[string]Unit{
		"example.service": {
			Unit: UnitSection{
				Description:           "100% of an example; with \"quotes\"",
				Documentation:         Words{"https://example.org/a%20b"},
				After:                 Words{"network.target", "local-fs.target"},
				ConditionPathExists:   Conditions{{Path: "/srv/a b"}, {Path: "/etc/50%.off", Not: true}},
				StartLimitIntervalSec: Duration(5 * time.Minute),
				StartLimitBurst:       new(Count(5)),
			},
			Service: ServiceSection{
				Type:         "exec",
				ExecStartPre: Commands{{"/usr/bin/true", "a b"}, {"/usr/bin/true"}},
				ExecStart: Command{
					"/usr/bin/llama-server", "-m", "/models/a b.gguf", "--alias", `the "big" one`,
					"$HOME", "${HOME}", "%i", ";", `back\slash`, "", "tab\there", "naïve",
				},
				RestartSec:              Duration(1500 * time.Millisecond),
				OOMScoreAdjust:          new(Integer(-500)),
				UMask:                   "0007",
				PrivateUsers:            Yes,
				WorkingDirectory:        "/srv/a b",
				Environment:             Environment{"TZ": "America/Chicago", "GREETING": `say "hi" for 100%`},
				LoadCredential:          Credentials{{Name: "api-key", Path: "/etc/credstore/api-key"}},
				LoadCredentialEncrypted: Credentials{{Name: "hmac"}},
				SetCredentialEncrypted:  SealedCredentials{{Name: "sealed", Base64: "aGVsbG8="}},
				RootDirectory:           "/opt/50%/root",
				TemporaryFileSystem:     TemporaryFileSystems{{Path: "/models", Options: []string{"ro"}}, {Path: "/tmp"}},
				BindReadOnlyPaths:       Binds{{Source: "/srv/a b.gguf", Target: "/models/a.gguf"}, {Source: "/usr/share/zoneinfo", Optional: true}},
				InaccessiblePaths:       Words{"-/boot", "/srv/100%"},
				PrivateDevices:          No,
				DeviceAllow:             DevicesAllowed{{"char-nvidia", "rw"}, {"/dev/dri/renderD128", "rwm"}},
				CapabilityBoundingSet:   Words{},
				SystemCallFilter:        Lines{{"@system-service"}, {"~@privileged", "@resources"}},
				AppArmorProfile:         "llmhost.chat",
				Nice:                    new(Integer(-5)),
				CPUQuota:                400,
				MemoryMax:               new(Bytes(48 << 30)),
				MemorySwapMax:           new(Bytes(0)),
				TasksMax:                new(Count(4096)),
				LimitCORE:               new(Bytes(1000)),
			},
			Install: InstallSection{WantedBy: Words{"multi-user.target"}},
		},
		"example.socket": {
			Kind: KindSocket,
			Unit: UnitSection{Description: "The way in", PartOf: Words{"example.service"}},
			Socket: SocketSection{
				ListenStream: Listeners{"/run/llmhost/gateway/gateway.sock", "127.0.0.1:8000", "[::1]:8000"},
				SocketGroup:  "llm-chat", SocketMode: "0660", Backlog: new(Count(128)), RemoveOnStop: Yes, Service: "example.service",
			},
			Install: InstallSection{WantedBy: Words{"sockets.target"}},
		},
		"example.timer": {
			Kind:    KindTimer,
			Unit:    UnitSection{Description: "Now and then"},
			Timer:   TimerSection{OnBootSec: Duration(90 * time.Second), OnCalendar: "Mon *-*-* 00:00:00", RandomizedDelaySec: Duration(time.Hour), Persistent: Yes},
			Install: InstallSection{WantedBy: Words{"timers.target"}},
		},
		"example.path": {
			Kind:    KindPath,
			Unit:    UnitSection{Description: "A folder that is watched"},
			Path:    PathSection{PathChanged: Paths{"/srv/models", "/srv/more models"}, Unit: "llmhost-verify.service", MakeDirectory: Yes, DirectoryMode: "0750"},
			Install: InstallSection{WantedBy: Words{"paths.target"}},
		},
		"example.slice": {
			Kind:  KindSlice,
			Unit:  UnitSection{Description: "All model servers together", Before: Words{"slices.target"}},
			Slice: SliceSection{CPUQuota: 800, MemoryMax: new(Bytes(96 << 30)), TasksMax: new(Count(8192)), IPAddressDeny: Words{"any"}, IPAddressAllow: Words{"localhost"}},
		},
	}
}

func TestTextIsGolden(t *testing.T) {
	for name, u := range examples() {
		t.Run(name, func(t *testing.T) {
			got, err := u.Text()
			if err != nil {
				t.Fatal(err)
			}
			golden(t, name, got)
		})
	}
}

func TestWhatSystemdWouldMisreadIsRefused(t *testing.T) {
	tests := []struct {
		name string
		unit Unit
		want string // in the error, beside the directive's name
	}{
		{"a directive smuggled in", Unit{Unit: UnitSection{Description: "a\nExecStartPre=/bin/sh"}}, "Description=: "},
		{"a carriage return", Unit{Unit: UnitSection{Description: "a\rb"}}, "Description=: "},
		{"a line continuation", Unit{Unit: UnitSection{Description: `a\`}}, "Description=: "},
		{"outer space", Unit{Unit: UnitSection{Description: " a"}}, "Description=: "},
		{"a newline in an argument", Unit{Service: ServiceSection{ExecStart: Command{"/bin/a", "b\nc"}}}, "ExecStart=: "},
		{"a nul in an argument", Unit{Service: ServiceSection{ExecStart: Command{"/bin/a", "b\x00c"}}}, "ExecStart=: "},
		{"bytes that aren't text", Unit{Service: ServiceSection{ExecStart: Command{"/bin/a", "\xff"}}}, "ExecStart=: "},
		{"a first program with full privileges", Unit{Service: ServiceSection{ExecStartPre: Commands{{"/bin/a"}, {"+/bin/a"}}}}, "ExecStartPre=: "},
		{"a program with full privileges", Unit{Service: ServiceSection{ExecStart: Command{"+/bin/a"}}}, "ExecStart=: "},
		{"a relative program", Unit{Service: ServiceSection{ExecStart: Command{"bin/a"}}}, "ExecStart=: "},
		{"a variable as program", Unit{Service: ServiceSection{ExecStart: Command{"/bin/$A"}}}, "ExecStart=: "},
		{"two words as a user", Unit{Service: ServiceSection{User: "a b"}}, "User=: "},
		{"a specifier as a user", Unit{Service: ServiceSection{User: "%i"}}, "User=: "},
		{"a mode that isn't octal", Unit{Service: ServiceSection{UMask: "0888"}}, "UMask=: "},
		{"a negative time", Unit{Service: ServiceSection{RestartSec: Duration(-time.Second)}}, "RestartSec=: "},
		{"a time too fine", Unit{Service: ServiceSection{RestartSec: Duration(time.Microsecond)}}, "RestartSec=: "},
		{"a boolean that is none", Unit{Service: ServiceSection{PrivateUsers: 7}}, "PrivateUsers=: "},
		{"a path that climbs", Unit{Service: ServiceSection{RootDirectory: "/opt/../etc"}}, "RootDirectory=: "},
		{"a path with an escape", Unit{Service: ServiceSection{BindReadOnlyPaths: Binds{{Source: `/a\x41`}}}}, "BindReadOnlyPaths=: "},
		{"two words in one", Unit{Service: ServiceSection{IPAddressAllow: Words{"localhost any"}}}, "IPAddressAllow=: "},
		{"a bind with a third part", Unit{Service: ServiceSection{BindReadOnlyPaths: Binds{{Source: "/a:/b"}}}}, "BindReadOnlyPaths=: "},
		{"a bind with a relative target", Unit{Service: ServiceSection{BindReadOnlyPaths: Binds{{Source: "/a", Target: "b"}}}}, "BindReadOnlyPaths=: "},
		{"a mount with options in its path", Unit{Service: ServiceSection{TemporaryFileSystem: TemporaryFileSystems{{Path: "/a:exec"}}}}, "TemporaryFileSystem=: "},
		{"a device outside /dev", Unit{Service: ServiceSection{DeviceAllow: DevicesAllowed{{"/etc/shadow", "r"}}}}, "DeviceAllow=: "},
		{"every device class", Unit{Service: ServiceSection{DeviceAllow: DevicesAllowed{{"char-*", "r"}}}}, "DeviceAllow=: "},
		{"a device without access", Unit{Service: ServiceSection{DeviceAllow: DevicesAllowed{{"char-nvidia", ""}}}}, "DeviceAllow=: "},
		{"a variable with a space", Unit{Service: ServiceSection{Environment: Environment{"A B": "c"}}}, "Environment=: "},
		{"a credential that climbs", Unit{Service: ServiceSection{LoadCredential: Credentials{{Name: ".."}}}}, "LoadCredential=: "},
		{"a credential of two parts", Unit{Service: ServiceSection{LoadCredential: Credentials{{Name: "a:b"}}}}, "LoadCredential=: "},
		{"a credential in clear", Unit{Service: ServiceSection{SetCredentialEncrypted: SealedCredentials{{"key", "s3cr3t!"}}}}, "SetCredentialEncrypted=: "},
		{"a profile that may be absent", Unit{Service: ServiceSection{AppArmorProfile: "-llmhost.chat"}}, "AppArmorProfile=: "},
		{"a condition on a relative path", Unit{Unit: UnitSection{ConditionPathExists: Conditions{{Path: "a"}}}}, "ConditionPathExists=: "},
		{"a port that is open to all", Unit{Kind: KindSocket, Socket: SocketSection{ListenStream: Listeners{"8000"}}}, "ListenStream=: "},
		{"a socket without a file", Unit{Kind: KindSocket, Socket: SocketSection{ListenStream: Listeners{"@abstract"}}}, "ListenStream=: "},
		{"a service's directive in a socket", Unit{Kind: KindSocket, Service: ServiceSection{User: "a"}}, "User=: a socket has no section [Service]"},
		{"a timer's directive in a service", Unit{Timer: TimerSection{Persistent: Yes}}, "Persistent=: a service has no section [Timer]"},
		{"a kind that isn't deployed", Unit{Kind: "mount"}, "mount"},
		{"a newline in a variable", Unit{Service: ServiceSection{Environment: Environment{"A": "b\nc"}}}, "Environment=: "},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			text, err := test.unit.Text()
			if err == nil {
				t.Fatalf("rendered as:\n%s", text)
			}
			if !strings.Contains(err.Error(), test.want) {
				t.Errorf("the error is %q and doesn't name %q", err, test.want)
			}
		})
	}
}

func TestAllFaultsAreReportedAtOnce(t *testing.T) {
	_, err := Unit{Service: ServiceSection{User: "a b", UMask: "x", RootDirectory: "relative"}}.Text()
	for _, directive := range []string{"User=", "UMask=", "RootDirectory="} {
		if err == nil || !strings.Contains(err.Error(), directive) {
			t.Errorf("the error doesn't name %s: %v", directive, err)
		}
	}
}

// A directive that is declared but can't be rendered would be silently absent, or panic.
func TestEveryDirectiveIsAValue(t *testing.T) {
	for _, s := range new(Unit).sections() {
		typ := reflect.TypeOf(s.fields).Elem()
		for i := range typ.NumField() {
			if !typ.Field(i).Type.Implements(reflect.TypeFor[value]()) {
				t.Errorf("%s.%s isn't a value", typ.Name(), typ.Field(i).Name)
			}
		}
	}
}

func TestNothingSetRendersNothing(t *testing.T) {
	text, err := Unit{}.Text()
	if err != nil || text != "" {
		t.Errorf("got %q, %v", text, err)
	}
}

// FuzzCommand reads a rendered command as systemd does and expects the arguments back.
func FuzzCommand(f *testing.F) {
	for _, seed := range []string{"", ";", "a b", `a"b`, `a'b`, `a\b`, `\`, "$A", "%h", "a\tb", "#c", `\x41`, "ü"} {
		f.Add(seed, seed)
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		want := Command{"/bin/program", a, b}
		text, err := Unit{Service: ServiceSection{ExecStart: want}}.Text()
		if err != nil {
			return // refused: nothing is run
		}
		options, err := unit.DeserializeOptions(strings.NewReader(text))
		if err == unit.ErrLineTooLong {
			return
		}
		if err != nil || len(options) != 1 {
			t.Fatalf("%q reads as %v, %v", text, options, err)
		}
		if diff := cmp.Diff(want, Command(readCommand(t, options[0].Value))); diff != "" {
			t.Errorf("%q (-want +got):\n%s", text, diff)
		}
	})
}

// readCommand splits a command line by the rules of systemd.syntax(7) and systemd.service(5).
func readCommand(t *testing.T, line string) []string {
	t.Helper()
	var words []string
	var word strings.Builder
	inWord, quoted := false, rune(0)
	runes := []rune(line)
	end := func() {
		text := strings.NewReplacer("%%", "%", "%", "<specifier>").Replace(word.String())
		words = append(words, strings.NewReplacer("$$", "$", "$", "<variable>").Replace(text))
		word.Reset()
		inWord = false
	}
	for i := 0; i < len(runes); i++ {
		r := runes[i]
		switch {
		case r == '\\':
			i++
			if i == len(runes) {
				t.Fatalf("%q ends in a continuation", line)
			}
			unescaped, ok := map[rune]rune{'\\': '\\', '"': '"', 't': '\t'}[runes[i]]
			if !ok {
				t.Fatalf("%q holds the unknown escape \\%c", line, runes[i])
			}
			word.WriteRune(unescaped)
			inWord = true
		case quoted != 0 && r == quoted:
			quoted = 0
		case quoted == 0 && (r == '"' || r == '\''):
			quoted, inWord = r, true
		case quoted == 0 && (r == ' ' || r == '\t'):
			if inWord {
				end()
			}
		case quoted == 0 && r == ';' && !inWord && (i+1 == len(runes) || runes[i+1] == ' '):
			t.Fatalf("%q begins another command", line)
		default:
			word.WriteRune(r)
			inWord = true
		}
	}
	if inWord {
		end()
	}
	return words
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v; write it with go test -update", err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got; accept with go test -update):\n%s", file, diff)
	}
}
