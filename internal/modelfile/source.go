package modelfile

import (
	"fmt"
	"net/netip"
	"net/url"
	"path"
	"regexp"
	"strconv"
	"strings"
)

// Kind is where a model comes from.
type Kind string

// The kinds of sources.
const (
	Local Kind = "local" // a file or folder of the machine that llmhost runs on
	HTTPS Kind = "https" // an address
	Hub   Kind = "hub"   // a repository of a model hub, at a revision
	SSH   Kind = "ssh"   // another host
	Host  Kind = "host"  // the host has it already, and it stays where it is
)

// Source is where a model comes from, as one line of text says it. Only the fields of its kind are set.
type Source struct {
	Text   string // as it was written; ParseSource reads it back
	Kind   Kind
	Folder bool // the model is a folder, and else one file

	// Path is the file or folder: as it was written (Local), absolute and clean (SSH, Host), or inside the repository
	// (Hub; empty for all of it). A shard stands for all shards of its set, see ParseShard.
	Path string

	URL string // HTTPS

	Repository string // Hub: ORG/REPO
	Revision   string // Hub: a commit, a branch or a tag

	User    string // SSH; empty: the ssh configuration's
	Address string // SSH: a host name, an IP address or an alias
	Port    int    // SSH; 0: the ssh configuration's
}

// Name is the last element of what the source names: a file's name, or that of a folder or a repository.
func (s Source) Name() string {
	switch {
	case s.Kind == HTTPS:
		u, err := url.Parse(s.URL)
		if err != nil {
			return ""
		}
		return path.Base(u.Path)
	case s.Kind == Hub && s.Path == "":
		return path.Base(s.Repository)
	default:
		return path.Base(s.Path)
	}
}

// Shard returns the shard that the source names, if it names one.
func (s Source) Shard() (Shard, bool) { return ParseShard(s.Name()) }

// Immutable reports whether the revision of a hub's repository is a commit, which always means the same files.
func (s Source) Immutable() bool { return commit.MatchString(s.Revision) }

// SourceError is what is wrong with the text of a source.
type SourceError struct {
	Text    string
	Problem string // continues a sentence whose subject is the text
	Hint    string // what to do, as sentences
}

// Error returns the whole sentence and the hint.
func (e *SourceError) Error() string {
	return fmt.Sprintf("%q %s. %s", e.Text, e.Problem, strings.TrimSuffix(e.Hint, "."))
}

// Forms are the ways to write a source, for errors and help.
const Forms = "A source is a local path, https://…, hf://ORG/REPO@REVISION[/PATH], ssh://[user@]host[:port]/PATH or host:/PATH."

var (
	scheme   = regexp.MustCompile(`^([A-Za-z][A-Za-z0-9+.-]*)://`)
	scpStyle = regexp.MustCompile(`^([^/@:]+@[^/@:]+):(.+)$`)
	control  = regexp.MustCompile(`[\x00-\x1f\x7f]`)
	commit   = regexp.MustCompile(`^[0-9a-f]{40}$`)

	repositoryPart = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,95}$`)
	revisionName   = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,254}$`)
	// A host or a user that starts with a hyphen would be an option of ssh.
	sshName = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9._-]*[A-Za-z0-9_.-])?$`)
)

// ParseSource reads the text of a source. It looks at nothing but the text: whether the model is a file or a folder follows
// from how the name ends. Its errors are a *SourceError.
func ParseSource(text string) (Source, error) {
	s := Source{Text: text}
	wrong := func(problem, hint string, args ...any) (Source, error) {
		return Source{}, &SourceError{Text: text, Problem: problem, Hint: fmt.Sprintf(hint, args...)}
	}
	if text == "" {
		return wrong("is empty", "%s", Forms)
	}
	if control.MatchString(text) {
		return wrong("has a control character in it", "Remove it.")
	}
	var err error
	name := ""
	if match := scheme.FindStringSubmatch(text); match != nil {
		name = match[1]
	}
	switch {
	case name == "https" || name == "http":
		err = s.parseURL()
	case name == "hf":
		err = s.parseHub()
	case name == "ssh":
		err = s.parseSSH()
	case name == "host":
		return wrong("has two slashes too many", "Write %q.", "host:/"+strings.TrimLeft(strings.TrimPrefix(text, "host:"), "/"))
	case name == "file":
		return wrong("is no path", "Write the path alone: %q.", strings.TrimPrefix(text, "file://"))
	case name != "":
		return wrong(fmt.Sprintf("starts with %s://, which llmhost doesn't know", name), "%s", Forms)
	case strings.HasPrefix(text, "host:"):
		s.Kind, s.Path = Host, strings.TrimPrefix(text, "host:")
		err = checkAbsolute(text, s.Path, "host:")
	case strings.HasPrefix(text, "hf:"):
		return wrong("has no slashes after hf:", "Write %q.", "hf://"+strings.TrimLeft(strings.TrimPrefix(text, "hf:"), "/"))
	case strings.HasPrefix(text, "https:"), strings.HasPrefix(text, "ssh:"):
		kind, rest, _ := strings.Cut(text, ":")
		return wrong(fmt.Sprintf("has no slashes after %s:", kind), "Write %q.", kind+"://"+strings.TrimLeft(rest, "/"))
	case scpStyle.MatchString(text):
		match := scpStyle.FindStringSubmatch(text)
		return wrong("is written as scp takes it", "Write %q, with an absolute path.", "ssh://"+match[1]+"/"+strings.TrimLeft(match[2], "/"))
	default:
		s.Kind, s.Path = Local, text
	}
	if err != nil {
		return Source{}, err
	}
	if err := s.decideShape(); err != nil {
		return Source{}, err
	}
	return s, nil
}

// decideShape decides whether the model is a file or a folder.
func (s *Source) decideShape() error {
	name := strings.ToLower(s.Name())
	_, shard := ParseShard(s.Name())
	s.Folder = shard || !strings.HasSuffix(name, ".gguf")
	if !s.Folder || shard {
		return nil
	}
	for _, suffix := range []string{".safetensors", ".safetensors.index.json", ".bin", ".pt", ".pth", ".ckpt", ".pkl"} {
		if !strings.HasSuffix(name, suffix) {
			continue
		}
		return &SourceError{Text: s.Text, Problem: "names one file of another format than GGUF",
			Hint: "Such a model is a folder with its configuration and its tokenizer: name the folder."}
	}
	if s.Kind == HTTPS {
		hint := "An address is that of one .gguf file, or of the first shard of several."
		if strings.HasPrefix(s.URL, "https://huggingface.co/") {
			hint += " A whole repository is hf://ORG/REPO@REVISION."
		}
		return &SourceError{Text: s.Text, Problem: "names no GGUF file", Hint: hint}
	}
	return nil
}

func (s *Source) parseURL() error {
	wrong := func(problem, hint string, args ...any) error {
		return &SourceError{Text: s.Text, Problem: problem, Hint: fmt.Sprintf(hint, args...)}
	}
	u, err := url.Parse(s.Text)
	switch {
	case err != nil:
		return wrong("is no address", "Write it as a browser shows it, with spaces as %%20.")
	case u.Hostname() == "":
		return wrong("has no host", "Write https://HOST/PATH.")
	case u.User != nil:
		// The text isn't repeated: it holds a password.
		return &SourceError{Text: u.Scheme + "://…@" + u.Host + u.Path, Problem: "has a user name in it",
			Hint: "A host file is committed and holds no secret: set the stack's secret llmhost:modelToken, or HF_TOKEN, instead."}
	case u.Scheme == "http" && !Loopback(u.Hostname()):
		return wrong("isn't encrypted", "Write %q. Only an address of the machine itself may be http.", "https"+strings.TrimPrefix(s.Text, "http"))
	case u.Fragment != "":
		return wrong("has a # in it", "Remove what follows: it isn't sent to a server.")
	case u.Hostname() == "huggingface.co" && strings.Contains(u.Path, "/blob/"):
		return wrong("is the page about a file and not the file", "Write %q, or hf://ORG/REPO@REVISION/PATH.", strings.Replace(s.Text, "/blob/", "/resolve/", 1))
	}
	s.Kind, s.URL = HTTPS, s.Text
	return nil
}

// Loopback reports whether a host's name or address means the machine itself.
func Loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback()
}

func (s *Source) parseHub() error {
	wrong := func(problem, hint string, args ...any) error {
		return &SourceError{Text: s.Text, Problem: problem, Hint: fmt.Sprintf(hint, args...)}
	}
	rest := strings.TrimPrefix(s.Text, "hf://")
	const form = "Write hf://ORG/REPO@REVISION[/PATH]."
	if strings.HasPrefix(rest, "models/") || strings.HasPrefix(rest, "huggingface.co/") {
		_, rest, _ = strings.Cut(rest, "/")
		return wrong("has a part too many", "Write %q.", "hf://"+rest)
	}
	org, rest, _ := strings.Cut(rest, "/")
	repo, inside, _ := strings.Cut(rest, "/")
	repo, revision, pinned := strings.Cut(repo, "@")
	switch {
	case !repositoryPart.MatchString(org) || !repositoryPart.MatchString(repo):
		return wrong("names no repository", form)
	case !pinned || revision == "":
		return wrong("has no revision", "Write the commit after an @: hf://%s/%s@COMMIT. llmhost model add finds it and writes it.", org, repo)
	case !revisionName.MatchString(revision):
		return wrong(fmt.Sprintf("has the revision %q, which is none", revision), "Write a commit's 40 hexadecimal digits.")
	case inside != "" && (path.Clean(inside) != inside || path.IsAbs(inside) || inside == ".." || strings.HasPrefix(inside, "../")):
		return wrong("has a path that isn't in its shortest form", form)
	}
	s.Kind, s.Repository, s.Revision, s.Path = Hub, org+"/"+repo, revision, inside
	return nil
}

func (s *Source) parseSSH() error {
	wrong := func(problem, hint string, args ...any) error {
		return &SourceError{Text: s.Text, Problem: problem, Hint: fmt.Sprintf(hint, args...)}
	}
	const form = "Write ssh://[user@]host[:port]/absolute/path, an IPv6 address in brackets."
	rest := strings.TrimPrefix(s.Text, "ssh://")
	authority, inside, found := strings.Cut(rest, "/")
	if !found || inside == "" {
		return wrong("has no path", form)
	}
	if user, host, ok := strings.Cut(authority, "@"); ok {
		if !sshName.MatchString(user) {
			return wrong("has a user that isn't a valid name", form)
		}
		s.User, authority = user, host
	}
	host, port := authority, ""
	if strings.HasPrefix(authority, "[") {
		end := strings.IndexByte(authority, ']')
		if end < 0 {
			return wrong("has a bracket that doesn't end", form)
		}
		host, port = authority[1:end], authority[end+1:]
		if _, err := netip.ParseAddr(host); err != nil {
			return wrong("has no IP address in its brackets", form)
		}
	} else {
		if i := strings.IndexByte(authority, ':'); i >= 0 {
			host, port = authority[:i], authority[i:]
		}
		if !sshName.MatchString(host) {
			return wrong("names no host", form)
		}
	}
	if port != "" {
		n, err := strconv.ParseUint(strings.TrimPrefix(port, ":"), 10, 16)
		if err != nil || n == 0 || port[0] != ':' {
			return wrong("has no valid port", "A port is a number from 1 to 65535. "+form)
		}
		s.Port = int(n)
	}
	s.Kind, s.Address, s.Path = SSH, host, "/"+inside
	return checkAbsolute(s.Text, s.Path, strings.TrimSuffix(s.Text, s.Path))
}

// checkAbsolute refuses a path that isn't absolute and clean. The prefix is what stands before it.
func checkAbsolute(text, p, prefix string) error {
	switch {
	case !path.IsAbs(p):
		return &SourceError{Text: text, Problem: "isn't an absolute path", Hint: fmt.Sprintf("A path on a host starts with /: write %s/PATH.", prefix)}
	case path.Clean(p) != p:
		return &SourceError{Text: text, Problem: "isn't in its shortest form", Hint: fmt.Sprintf("Write %q.", prefix+path.Clean(p))}
	case p == "/":
		return &SourceError{Text: text, Problem: "is the root folder", Hint: "Name a file or folder below it."}
	}
	return nil
}
