package requirements

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var sum = strings.Repeat("0123456789abcdef", 4)

func TestParse(t *testing.T) {
	text := `# made by pip-compile
vllm==0.11.2 \
    --hash=sha256:` + sum + ` \
    --hash=sha256:` + sum + `
    # via -r vllm.in
uvicorn[standard]==0.30.1 ; python_version >= "3.10" --hash=sha256:` + sum + `
Torch_Audio @ https://example.org/torchaudio-2.9.0%2Bcpu.whl --hash=sha256:` + sum + `
`
	got, faults := Parse(text)
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	want := []Requirement{{2, "vllm", "0.11.2"}, {6, "uvicorn", "0.30.1"}, {7, "torch-audio", ""}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestParseRefuses(t *testing.T) {
	good := " --hash=sha256:" + sum + "\n"
	for _, test := range []struct{ name, text, want string }{
		{"no hash", "vllm==0.11.2\n", "line 1: vllm has no --hash"},
		{"a later line", "a==1" + good + "\n# b\nb==2\n", "line 4: b has no --hash"},
		{"a range", "vllm>=0.11" + good, `line 1: "vllm>=0.11" names no single version`},
		{"a wildcard", "vllm==0.11.*" + good, `names no single version`},
		{"no version", "vllm" + good, "names no single version"},
		{"an index", "--index-url https://example.org\nvllm==1" + good, `line 1: "--index-url" is an option of pip`},
		{"another file", "-r other.txt\n", `line 1: "-r" is an option of pip`},
		{"a folder", "./vllm" + good, "names no single version"},
		{"editable", "-e .\n", `"-e" is an option`},
		{"a repository", "git+https://github.com/vllm-project/vllm" + good, "names no single version"},
		{"a plain address", "vllm @ http://example.org/a.whl" + good, "names no single version"},
		{"a weak hash", "vllm==1 --hash=md5:0123\n", `has "--hash=md5:0123", which is no digest`},
		{"another option", "vllm==1 --global-option=x" + good, `has "--global-option=x", which is no digest`},
		{"twice", "vllm==1" + good + "VLLM==2" + good, "line 2: vllm is there twice"},
		{"a hidden line", "a==1" + good + "b==1\u2028-r /etc/passwd" + good, "line 2: a character that pip takes for the end of a line"},
		{"a carriage return", "a==1 \r-r x" + good, "line 1: a character"},
		{"a variable", "a @ https://${HOST}/a.whl" + good, "a variable, which pip would fill in"},
		{"nothing", "# nothing\n", "line 1: the file names no package"},
		{"too much", strings.Repeat("#", MaxSize+1), "more than"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, faults := Parse(test.text)
			if len(faults) != 1 || !strings.Contains(faults[0].Error(), test.want) {
				t.Errorf("got %v, want one fault with %q", faults, test.want)
			}
		})
	}
}

// Whatever is accepted is what pip must demand: a package with a digest, and no option of its own.
func FuzzParse(f *testing.F) {
	f.Add("vllm==0.11.2 --hash=sha256:" + sum)
	f.Add("a==1 \\\n --hash=sha256:" + sum + "\n-r b")
	f.Add("a @ https://example.org/a.whl --hash=sha256:" + sum)
	f.Fuzz(func(t *testing.T, text string) {
		all, faults := Parse(text)
		if len(faults) > 0 {
			return
		}
		if len(all) == 0 {
			t.Fatal("a file without packages is accepted")
		}
		for _, l := range logicalLines(text) {
			if strings.HasPrefix(l.text, "-") || !strings.Contains(l.text, "--hash=sha256:") {
				t.Fatalf("accepted: %q", l.text)
			}
		}
	})
}
