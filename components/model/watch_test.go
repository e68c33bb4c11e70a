package model

import (
	"errors"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/llmhost/llmhost/components/systemd"
	"github.com/llmhost/llmhost/internal/checkrecord"
	"github.com/llmhost/llmhost/internal/hostfile"
)

var update = flag.Bool("update", false, "write the golden files anew")

func parse(t *testing.T, blocks string) *hostfile.Host {
	t.Helper()
	h, diags := hostfile.Parse([]byte("host \"x\" {\n  local {}\n"+blocks+"\n}\n"), "x.hcl")
	if err := hostfile.AsError(diags); err != nil {
		t.Fatal(err)
	}
	return h
}

const seeing = `
engine "llama.cpp" {
  source = "/home/me/e.tar"
  sha256 = "dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd"
}
model "seeing" {
  source = "/home/me/seeing.gguf"
  sha256 = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
  companion "eyes" {
    kind   = "mmproj"
    source = "/home/me/eyes.gguf"
    sha256 = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
  }
}
server "chat" {
  engine = "llama.cpp"
  model  = "seeing"
  memory = "1GiB"
}`

func units(t *testing.T) map[string]systemd.Unit {
	h := parse(t, seeing)
	return map[string]systemd.Unit{
		"llmhost-verify.service":      VerifyUnit(7 * 24 * time.Hour),
		"llmhost-verify.timer":        timer(7 * 24 * time.Hour),
		CheckUnitName(&h.Servers[0]):  CheckUnit(&h.Servers[0], &h.Models[0]),
		"hourly/llmhost-verify.timer": timer(time.Hour),
	}
}

func TestUnitsAreGolden(t *testing.T) {
	for name, u := range units(t) {
		t.Run(name, func(t *testing.T) {
			text, err := u.Text()
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join("testdata", name)
			if *update {
				if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatalf("%v; write it with go test -update", err)
			}
			if diff := cmp.Diff(string(want), text); diff != "" {
				t.Errorf("%s (-want +got; accept with go test -update):\n%s", file, diff)
			}
		})
	}
}

// What reads models as root is root, which costs 0.4 of 10; the rest is closed as far as they work.
func TestExposureIsLow(t *testing.T) {
	if _, err := exec.LookPath("systemd-analyze"); errors.Is(err, exec.ErrNotFound) {
		t.Fatal("this test scores the units with systemd-analyze: install the package systemd")
	}
	for _, name := range []string{"llmhost-verify.service", "llmhost-check@chat.service"} {
		out, err := exec.Command("systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold=13", filepath.Join("testdata", name)).CombinedOutput()
		if err != nil {
			t.Errorf("%s is exposed too much (%v):\n%s", name, err, out)
		}
	}
}

// Every model is read again within the period: it is left out of a run only if the next one,
// however late, still comes in time.
func TestNoModelWaitsLongerThanThePeriod(t *testing.T) {
	for _, every := range []time.Duration{time.Hour, 90 * time.Minute, 24 * time.Hour, 47 * time.Hour, 48 * time.Hour, 168 * time.Hour, 8760 * time.Hour} {
		command := VerifyUnit(every).Service.ExecStart
		left := time.Duration(0)
		for i, arg := range command {
			if arg == "--max-age" {
				var err error
				if left, err = time.ParseDuration(command[i+1]); err != nil {
					t.Fatal(err)
				}
			}
		}
		calendar := timer(every).Timer
		period := map[systemd.Text]time.Duration{"hourly": time.Hour, "daily": 24 * time.Hour}[calendar.OnCalendar]
		if period == 0 {
			t.Fatalf("the timer fires %q", calendar.OnCalendar)
		}
		if longest := left + period + time.Duration(calendar.RandomizedDelaySec); longest > every && left > 0 {
			t.Errorf("every %s: a model may wait for %s", every, longest)
		}
		if left < every/4 && every > 4*time.Hour {
			t.Errorf("every %s: a model is read again after %s already", every, left)
		}
	}
}

func TestRecordsSayWhatTheHostFileSays(t *testing.T) {
	h := parse(t, seeing)
	got, err := records(h, &h.Models[0])
	if err != nil {
		t.Fatal(err)
	}
	servers := []string{"llmhost-chat.service"}
	want := []checkrecord.Record{
		{Name: "seeing", Path: "/srv/models/seeing.gguf", SHA256: strings.Repeat("a", 64), Servers: servers},
		{Name: "seeing/eyes", Path: "/srv/models/seeing.eyes.gguf", SHA256: strings.Repeat("b", 64), Servers: servers},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for i, file := range recordFiles(&h.Models[0]) {
		if file != checkrecord.File(got[i].Name) {
			t.Errorf("the check reads %s, and %s is written", file, checkrecord.File(got[i].Name))
		}
	}
}

func TestASignatureThatIsNotThereIsAFault(t *testing.T) {
	dir := t.TempDir()
	key := filepath.Join(dir, "models.pub")
	if err := os.WriteFile(key, []byte("key"), 0o644); err != nil {
		t.Fatal(err)
	}
	source := filepath.Join(dir, "a.gguf")
	h := parse(t, `
model "a" {
  source = "`+source+`"
  sha256 = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
  signature {
    key = "`+key+`"
  }
}`)
	if _, err := records(h, &h.Models[0]); err == nil || !strings.Contains(err.Error(), source+".sig") || !strings.Contains(err.Error(), "x.hcl:") {
		t.Errorf("got %v", err)
	}
	if err := os.WriteFile(source+".sig", []byte("bundle"), 0o644); err != nil {
		t.Fatal(err)
	}
	got, err := records(h, &h.Models[0])
	if err != nil || got[0].Signature == nil || *got[0].Signature != (checkrecord.Signature{PublicKey: "key", Bundle: "bundle", Name: "a.gguf.sig"}) {
		t.Errorf("got %+v, %v", got, err)
	}
}
