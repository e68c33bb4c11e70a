package hostfile

import (
	"math"
	"strings"
	"testing"

	"github.com/zclconf/go-cty/cty"
)

func TestBytesRoundTrip(t *testing.T) {
	for text, want := range map[string]Bytes{
		"0B":                   0,
		"1B":                   1,
		"1kB":                  1000,
		"1KiB":                 1024,
		"24GiB":                24 << 30,
		"24GB":                 24e9,
		"512MiB":               512 << 20,
		"3TB":                  3e12,
		"2TiB":                 2 << 40,
		"9223372036854775807B": math.MaxInt64,
	} {
		got, err := ParseBytes(text)
		if err != nil || got != want {
			t.Errorf("ParseBytes(%q) = %d, %v; want %d", text, got, err, want)
		}
		if got.String() != text {
			t.Errorf("%d is written as %s; want %s", want, got, text)
		}
	}
	// Other ways to write the same.
	for text, want := range map[string]Bytes{"1.5GiB": 3 << 29, "24 GiB": 24 << 30, "0.001kB": 1, "1024MiB": 1 << 30} {
		got, err := ParseBytes(text)
		if err != nil || got != want {
			t.Errorf("ParseBytes(%q) = %d, %v; want %d", text, got, err, want)
		}
		if again, err := ParseBytes(got.String()); err != nil || again != got {
			t.Errorf("%q came back as %d, %v", got, again, err)
		}
	}
}

func TestRatesRoundTrip(t *testing.T) {
	for text, want := range map[string]BytesPerSecond{"1008GB/s": 1008e9, "1TiB/s": 1 << 40, "0B/s": 0} {
		got, err := ParseBytesPerSecond(text)
		if err != nil || got != want || got.String() != text {
			t.Errorf("ParseBytesPerSecond(%q) = %d (%s), %v; want %d", text, uint64(got), got, err, want)
		}
	}
}

func TestSizesThatAreMeantOtherwise(t *testing.T) {
	for text, hint := range map[string]string{
		"24":    `"24GiB"`,
		"24G":   `"24GiB"`,
		"24gib": `"24GiB"`,
		"24KB":  `"24kB"`,
		"24GIB": `"24GiB"`,
		"-1GiB": `"24GiB"`,
		"":      `"24GiB"`,
		"1e3GB": `"24GiB"`,
	} {
		_, err := ParseBytes(text)
		if err == nil || !strings.Contains(err.Error(), hint) {
			t.Errorf("ParseBytes(%q): %v; want a hint at %s", text, err, hint)
		}
	}
	for text, hint := range map[string]string{
		"1008":     `"1008GiB/s"`,
		"1008GB":   `"1008GB/s"`,
		"1008GBps": `"1008GB/s"`,
		"1008Gb/s": `"1008GB/s"`,
		"8x/s":     "Units are",
	} {
		_, err := ParseBytesPerSecond(text)
		if err == nil || !strings.Contains(err.Error(), hint) {
			t.Errorf("ParseBytesPerSecond(%q): %v; want a hint at %s", text, err, hint)
		}
	}
}

// check decodes texts with one kind: those of good are accepted, those of bad aren't and hint at their value.
func check[V any](t *testing.T, k kind[V], good []string, bad map[string]string) {
	t.Helper()
	in := scope{folder: "/p/hosts", home: "/home/me"}
	for _, text := range good {
		if _, err := k.decode(in, cty.StringVal(text)); err != nil {
			t.Errorf("%s: %q is refused: %v", k.name, text, err)
		}
	}
	for text, hint := range bad {
		if v, err := k.decode(in, cty.StringVal(text)); err == nil || !strings.Contains(err.Error(), hint) {
			t.Errorf("%s: %q gave %v, %v; want an error with %q", k.name, text, v, err, hint)
		}
	}
}

func TestModelsPath(t *testing.T) {
	check(t, modelsPath, []string{"/srv/models", "/models", "/var/lib/models", "/home/me/models"}, map[string]string{
		"/":                       "root folder",
		"":                        "isn't absolute",
		"models":                  `Did you mean "/models"?`,
		"/srv/models/":            `Write "/srv/models"`,
		"/srv/../etc":             `Write "/etc"`,
		"/etc":                    "operating system",
		"/usr/share/models":       "operating system",
		"/run/models":             "operating system",
		"/srv":                    `"/srv/models"`,
		"/var/lib":                "holds other things",
		"/opt/llmhost":            "the engines",
		"/var/lib/llmhost/models": "its ledger",
		"/srv/my models":          "systemd unit",
		"/srv/a:b":                "systemd unit",
		"/srv/%h":                 "systemd unit",
	})
}

func TestSSHAddress(t *testing.T) {
	check(t, sshAddress, []string{"desktop.lan", "192.168.1.5", "2001:db8::1", "fe80::1%eth0", "my_alias", "localhost"}, map[string]string{
		"":                     "without user, port and scheme",
		"-oProxyCommand=x":     "no host name",
		"desktop lan":          "no host name",
		"ops@desktop":          `user = "ops"`,
		"desktop.lan:2222":     "port = 2222",
		"[2001:db8::1]:22":     "port = 22",
		"ssh://desktop":        "without user, port and scheme",
		"desktop;reboot":       "no host name",
		"desktop\nProxyJump x": "no host name",
	})
}

func TestJump(t *testing.T) {
	check(t, jumpHost, []string{"bastion", "me@bastion", "me@bastion.example.org:2222", "2001:db8::1", "[2001:db8::1]:22", "10.0.0.1:22"}, map[string]string{
		"":              "no jump host",
		"@bastion":      "user",
		"me@":           "no jump host",
		"-x":            "no jump host",
		"bastion:0":     "no jump host",
		"bastion:99999": "no jump host",
		"a,b":           "no jump host",
	})
}

func TestHostKey(t *testing.T) {
	const (
		ed25519 = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f"
		ecdsa   = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAAABBA=="
		rsa     = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAAQE="
	)
	check(t, hostKey, []string{ed25519, ed25519 + " root@host", ecdsa, rsa}, map[string]string{
		"":                                      "is empty",
		"ssh-ed25519":                           "no key",
		"ssh-ed2551 AAAA":                       `Did you mean "ssh-ed25519"?`,
		"ssh-dss AAAA":                          "unknown type",
		"ssh-ed25519 AAAA…":                     "isn't base64",
		ed25519[:len(ed25519)-4]:                "in the middle",
		"ssh-rsa " + strings.Fields(ed25519)[1]: "isn't a key of the type",
		"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAAwABAg==":       "isn't a key of the type",
		"SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU": "unknown type",
	})
}

func TestTimezone(t *testing.T) {
	check(t, timezone, []string{"UTC", "America/Chicago", "Europe/Berlin", "Etc/GMT+5"}, map[string]string{
		"":                 "unknown time zone",
		"Local":            "unknown time zone",
		"europe/berlin":    `"Europe/Berlin"`,
		"America/New York": `"America/New_York"`,
		"utc":              `"UTC"`,
		"../../etc/passwd": "unknown time zone",
		"Chicago":          "IANA",
	})
}

func TestListen(t *testing.T) {
	check(t, listenAddress, []string{"unix", "127.0.0.1:8002", "127.0.0.2:1024", "[::1]:65535"}, map[string]string{
		"0.0.0.0:8002": "loopback",
		"127.0.0.1:80": "1024",
		"":             "unix",
	})
}

func TestLocalPathsStartAtTheHostFile(t *testing.T) {
	for text, want := range map[string]string{
		"a.gguf":      "/p/hosts/a.gguf",
		"../x/a.gguf": "/p/x/a.gguf",
		"~/a.gguf":    "/home/me/a.gguf",
		"/a//b.gguf":  "/a/b.gguf",
	} {
		got, err := localPath.decode(scope{folder: "/p/hosts", home: "/home/me"}, cty.StringVal(text))
		if err != nil || got != want {
			t.Errorf("%q is %q, %v; want %q", text, got, err, want)
		}
	}
	if _, err := localPath.decode(scope{folder: "/p"}, cty.StringVal("~/a")); err == nil || !strings.Contains(err.Error(), "HOME") {
		t.Errorf("without a home folder: %v", err)
	}
}
