package program

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/llmhost/llmhost/internal/render"
)

const bare = "host \"den\" {\n  local {}\n}\n"

// project makes a project's folder with a host file for each name.
func project(t *testing.T, hosts map[string]string) string {
	t.Helper()
	root := t.TempDir()
	write := func(name, text string) {
		file := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("Pulumi.yaml", "name: llmhost\nruntime: go\nmain: ./stacks\n")
	write("stacks/.keep", "")
	for name, text := range hosts {
		write("hosts/"+name, text)
	}
	return root
}

// provider returns the connection that the program declares for the stack den.
func provider(t *testing.T, root string) map[string]any {
	t.Helper()
	resources, err := render.Program(Run, root, "llmhost", "den")
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range resources {
		if r.Type == "pulumi:providers:llmhost" {
			if r.Name != "den" {
				t.Errorf("the provider's name is %q, which is in every state as den", r.Name)
			}
			return r.Inputs.Mappable()
		}
	}
	t.Fatal("the program declares no provider")
	return nil
}

func TestConnectionComesFromTheHostFile(t *testing.T) {
	const key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl"
	for name, test := range map[string]struct {
		block string
		want  map[string]any
	}{
		"local": {"local {}", map[string]any{"hostId": "den", "local": true}},
		"only an address": {"ssh {\n address = \"den.lan\"\n }",
			map[string]any{"hostId": "den", "address": "den.lan"}},
		"everything": {`ssh {
			address     = "den.lan"
			port        = 2222
			user        = "ops"
			identity    = "/home/me/.ssh/id_ed25519"
			known_hosts = "/home/me/.ssh/known_hosts"
			host_key    = "` + key + `"
			jump        = "me@bastion:22"
		}`, map[string]any{
			"hostId": "den", "address": "den.lan", "port": 2222.0, "user": "ops", "identity": "/home/me/.ssh/id_ed25519",
			"knownHosts": "/home/me/.ssh/known_hosts", "hostKey": key, "jump": "me@bastion:22",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			got := provider(t, project(t, map[string]string{"den.hcl": "host \"den\" {\n" + test.block + "\n}\n"}))
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// The pulumi CLI and llmhost report different root directories for a project with main: ./stacks.
func TestProjectIsFoundFromTheProgramsFolder(t *testing.T) {
	root := project(t, map[string]string{"den.hcl": bare})
	provider(t, filepath.Join(root, "stacks"))
}

func TestEveryFaultOfTheHostFileIsInTheError(t *testing.T) {
	root := project(t, map[string]string{"den.hcl": "host \"den\" {\n  local {}\n  timezone = \"Mars\"\n  tymezone = 1\n}\n"})
	_, err := render.Program(Run, root, "llmhost", "den")
	for _, want := range []string{"den.hcl:3,", "Mars", "den.hcl:4,", "tymezone"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the error doesn't say %q: %v", want, err)
		}
	}
}

// The token of private models is a secret all the way, or it is refused.
func TestModelTokenIsASecret(t *testing.T) {
	root := project(t, map[string]string{"den.hcl": `host "den" {
		local {}
		model "m" {
			source = "hf://org/m@0123456789abcdef0123456789abcdef01234567/m.gguf"
			sha256 = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
		}
	}`})
	t.Setenv("PULUMI_CONFIG", `{"llmhost:modelToken": "hf_private"}`)
	_, err := render.Program(Run, root, "llmhost", "den")
	if err == nil || !strings.Contains(err.Error(), "--secret") || strings.Contains(err.Error(), "hf_private") {
		t.Errorf("a token in clear: %v", err)
	}
	t.Setenv("PULUMI_CONFIG_SECRET_KEYS", `["llmhost:modelToken"]`)
	resources, err := render.Program(Run, root, "llmhost", "den")
	if err != nil {
		t.Fatal(err)
	}
	given := false
	for _, r := range resources {
		if token, ok := r.Inputs["token"]; ok {
			given = true
			if !token.IsSecret() || token.SecretValue().Element.StringValue() != "hf_private" {
				t.Errorf("%s %s has the token %v", r.Type, r.Name, token)
			}
		}
	}
	if !given {
		t.Error("no resource has the token")
	}
}

func TestErrorsSayWhatToDo(t *testing.T) {
	for name, test := range map[string]struct {
		root, want string
	}{
		"no host file":   {project(t, map[string]string{"other.hcl": bare}), "write hosts/den.hcl"},
		"no project":     {t.TempDir(), "no Pulumi.yaml"},
		"damaged facts":  {project(t, map[string]string{"den.hcl": bare, "den.facts.json": "{"}), "llmhost probe"},
		"another's name": {project(t, map[string]string{"den.hcl": strings.Replace(bare, "den", "attic", 1)}), "attic"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := render.Program(Run, test.root, "llmhost", "den")
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("the error is %v and doesn't say %q", err, test.want)
			}
		})
	}
}

func TestExportsAreTheHostAndItsServers(t *testing.T) {
	root := project(t, map[string]string{"den.hcl": `host "den" {
		local {}
		engine "llama.cpp" {
			source = "/e.tar.zst"
			sha256 = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
		}
		model "m" {
			source = "/m.gguf"
			sha256 = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
		}
		server "chat" {
			engine = "llama.cpp"
			model  = "m"
			memory = "1GiB"
		}
	}`})
	// Pulumi doesn't wait for an output that no resource uses.
	exports := make(chan map[string]any, 1)
	_, err := render.Program(func(ctx *pulumi.Context) error {
		if err := Run(ctx); err != nil {
			return err
		}
		pulumi.Map(ctx.GetCurrentExportMap()).ToMapOutput().ApplyT(func(values map[string]any) error {
			exports <- values
			return nil
		})
		return nil
	}, root, "llmhost", "den")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"host": "den", "servers": map[string]string{"chat": "unix:/run/llmhost/chat/llm.sock"}}
	if diff := cmp.Diff(want, <-exports); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// The hosts that the project ships are what a new user starts from.
func TestShippedHostsAreDeclared(t *testing.T) {
	files, err := filepath.Glob("../../hosts/*.hcl")
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		t.Fatal("no host file is shipped in hosts")
	}
	root := project(t, nil)
	if err := os.CopyFS(filepath.Join(root, "hosts"), os.DirFS("../../hosts")); err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".hcl")
		t.Run(name, func(t *testing.T) {
			resources, err := render.Program(Render, root, "llmhost", name)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range resources {
				if strings.HasPrefix(r.Type, "llmhost:index:") && r.Provider == "" {
					t.Errorf("%s %s uses the default provider", r.Type, r.Name)
				}
			}
		})
	}
}
