package render

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/llmhost/llmhost/internal/sdk/llmhost"
)

// files runs a program and returns what it would place.
func files(t *testing.T, program pulumi.RunFunc) ([]File, error) {
	t.Helper()
	resources, err := Program(program, t.TempDir(), "llmhost", "den")
	if err != nil {
		t.Fatal(err)
	}
	return Files(resources)
}

func TestFilesUnitsAndDropInsAreRendered(t *testing.T) {
	got, err := files(t, func(ctx *pulumi.Context) error {
		_, err := llmhost.NewSystemdUnit(ctx, "unit", &llmhost.SystemdUnitArgs{
			Name:    pulumi.String("a.service"),
			Content: pulumi.String("[Service]\n"),
			DropIns: pulumi.StringMap{"/etc/systemd/system/a.service.d/b.conf": pulumi.String("[Unit]\n")},
		})
		if err != nil {
			return err
		}
		_, err = llmhost.NewFile(ctx, "script", &llmhost.FileArgs{
			Path: pulumi.String("/usr/local/bin/a"), Content: pulumi.String("#!/bin/true\n"),
			Mode: pulumi.String("4755"), Owner: pulumi.String("me"), Group: pulumi.String("us"),
		})
		if err != nil {
			return err
		}
		_, err = llmhost.NewDirectory(ctx, "folder", &llmhost.DirectoryArgs{Path: pulumi.String("/srv/empty")})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []File{
		{Path: "/etc/systemd/system/a.service", Mode: 0o644, Owner: "root", Group: "root", Content: "[Service]\n"},
		{Path: "/etc/systemd/system/a.service.d/b.conf", Mode: 0o644, Owner: "root", Group: "root", Content: "[Unit]\n"},
		{Path: "/usr/local/bin/a", Mode: 0o4755, Owner: "me", Group: "us", Content: "#!/bin/true\n"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestSecretsAreNotRendered(t *testing.T) {
	const secret = "hunter2"
	for name, args := range map[string]*llmhost.FileArgs{
		"as a secret file":   {Path: pulumi.String("/etc/key"), SecretContent: pulumi.String(secret)},
		"as a Pulumi secret": {Path: pulumi.String("/etc/key"), Content: pulumi.ToSecret(pulumi.String(secret)).(pulumi.StringOutput).ToStringPtrOutput()},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := files(t, func(ctx *pulumi.Context) error {
				_, err := llmhost.NewFile(ctx, "key", args)
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			if len(got) != 1 || !got[0].Secret || got[0].Content != SecretPlaceholder {
				t.Errorf("rendered as %+v", got)
			}
		})
	}
}

func TestWhatOnlyADeploymentKnowsIsAnError(t *testing.T) {
	_, err := files(t, func(ctx *pulumi.Context) error {
		engine, err := llmhost.NewEngine(ctx, "engine", &llmhost.EngineArgs{Sha256: pulumi.String(strings.Repeat("a", 64))})
		if err != nil {
			return err
		}
		_, err = llmhost.NewFile(ctx, "late", &llmhost.FileArgs{Path: pulumi.String("/etc/late"), Content: engine.Generation})
		return err
	})
	if err == nil || !strings.Contains(err.Error(), `"late"`) || !strings.Contains(err.Error(), "known before the deployment") {
		t.Errorf("the error is %v", err)
	}
}

func TestProgramsErrorIsLeftAsItIs(t *testing.T) {
	_, err := Program(func(*pulumi.Context) error { return os.ErrPermission }, t.TempDir(), "llmhost", "den")
	if err != os.ErrPermission {
		t.Errorf("the error is %v", err)
	}
}

func TestWrite(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "out")
	placed := []File{
		{Path: "/etc/a/b.conf", Mode: 0o640, Content: "one"},
		{Path: "/usr/bin/c", Mode: 0o4755, Content: "two"},
	}
	if err := Write(dir, placed, false); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]struct {
		text string
		mode fs.FileMode
	}{"etc/a/b.conf": {"one", 0o640}, "usr/bin/c": {"two", 0o755}} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if string(text) != want.text || info.Mode() != want.mode {
			t.Errorf("%s is %q %v, want %q %v", name, text, info.Mode(), want.text, want.mode)
		}
	}

	if err := Write(dir, placed, false); err == nil || !strings.Contains(err.Error(), "--force") {
		t.Errorf("a folder that holds files was written to: %v", err)
	}
	mine := filepath.Join(dir, "mine")
	if err := os.WriteFile(mine, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	placed[0].Content = "three"
	if err := Write(dir, placed, true); err != nil {
		t.Fatal(err)
	}
	if text, _ := os.ReadFile(filepath.Join(dir, "etc/a/b.conf")); string(text) != "three" {
		t.Errorf("the file wasn't replaced: %q", text)
	}
	if _, err := os.Stat(mine); err != nil {
		t.Errorf("a file that isn't rendered was touched: %v", err)
	}
}

func TestWriteStaysInItsFolder(t *testing.T) {
	base := t.TempDir()
	dir, outside := filepath.Join(base, "out"), filepath.Join(base, "outside")
	for _, d := range []string{dir, outside} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(outside, filepath.Join(dir, "etc")); err != nil {
		t.Fatal(err)
	}
	if err := Write(dir, []File{{Path: "/etc/passwd", Mode: 0o644}}, true); err == nil {
		t.Error("a link out of the folder was followed")
	}
	if err := Write(dir, []File{{Path: "/../outside/passwd", Mode: 0o644}}, true); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(outside)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) > 0 {
		t.Errorf("%v was written outside", entries)
	}
}
