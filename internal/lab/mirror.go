package lab

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// mirror is where Debian's packages come from. The zero value leaves it to mmdebstrap, which
// knows Debian's public default.
type mirror struct {
	main     string
	security string
}

// sources are apt's lines for a suite of the mirror; none for the default.
func (m mirror) sources(suite string) []string {
	if m.main == "" {
		return nil
	}
	line := func(uri, suite string) string {
		return fmt.Sprintf("deb [signed-by=%s] %s %s main", debianKeyring, uri, suite)
	}
	lines := []string{line(m.main, suite)}
	if slices.Contains(engineSuites, suite) { // neither has updates of its own
		return lines
	}
	lines = append(lines, line(m.main, suite+"-updates"))
	if m.security != "" {
		lines = append(lines, line(m.security, suite+"-security"))
	}
	return lines
}

// machineMirror is the mirror that this machine's own apt uses, so that a machine behind a
// proxy or with a mirror nearby works without being told.
func machineMirror() mirror {
	var entries []aptSource
	read := func(path string) {
		content, err := os.ReadFile(path)
		if err != nil {
			return // apt would ignore it too
		}
		if filepath.Ext(path) == ".sources" {
			entries = append(entries, parseDeb822(content)...)
			return
		}
		entries = append(entries, parseSourcesList(content)...)
	}
	read("/etc/apt/sources.list")
	for _, pattern := range []string{"*.sources", "*.list"} {
		paths, _ := filepath.Glob(filepath.Join("/etc/apt/sources.list.d", pattern)) // the pattern is valid
		for _, path := range paths {
			read(path)
		}
	}
	for i := range entries {
		entries[i].uri = resolveMirrorFile(entries[i].uri)
	}
	return debianMirror(entries)
}

// aptSource is one place and suite of packages in apt's configuration.
type aptSource struct {
	uri, suite string
	components []string
}

// parseSourcesList reads the one-line format of sources.list(5).
func parseSourcesList(content []byte) []aptSource {
	var sources []aptSource
	for line := range strings.Lines(string(content)) {
		line, _, _ = strings.Cut(line, "#")
		rest, ok := strings.CutPrefix(strings.TrimSpace(line), "deb ")
		if !ok {
			continue
		}
		rest = strings.TrimSpace(rest)
		if strings.HasPrefix(rest, "[") {
			if _, rest, ok = strings.Cut(rest, "]"); !ok {
				continue
			}
		}
		if f := strings.Fields(rest); len(f) >= 3 {
			sources = append(sources, aptSource{uri: f[0], suite: f[1], components: f[2:]})
		}
	}
	return sources
}

// parseDeb822 reads the stanzas of a .sources file.
func parseDeb822(content []byte) []aptSource {
	var sources []aptSource
	fields, last := map[string][]string{}, ""
	end := func() {
		enabled := !slices.Contains([]string{"no", "false", "0"}, strings.ToLower(strings.Join(fields["enabled"], "")))
		if slices.Contains(fields["types"], "deb") && enabled {
			for _, uri := range fields["uris"] {
				for _, suite := range fields["suites"] {
					sources = append(sources, aptSource{uri: uri, suite: suite, components: fields["components"]})
				}
			}
		}
		fields, last = map[string][]string{}, ""
	}
	for line := range strings.Lines(string(content)) {
		line = strings.TrimRight(line, "\r\n")
		switch {
		case strings.TrimSpace(line) == "":
			end()
		case strings.HasPrefix(line, "#"):
		case line[0] == ' ' || line[0] == '\t': // a field goes on
			fields[last] = append(fields[last], strings.Fields(line)...)
		default:
			name, value, ok := strings.Cut(line, ":")
			if !ok {
				continue
			}
			last = strings.ToLower(name)
			fields[last] = strings.Fields(value)
		}
	}
	end()
	return sources
}

// resolveMirrorFile replaces apt's mirror+file: scheme, which names a list on this machine,
// by the first address in that list.
func resolveMirrorFile(uri string) string {
	path, ok := strings.CutPrefix(uri, "mirror+file:")
	if !ok {
		return uri
	}
	content, err := os.ReadFile(filepath.Clean(strings.Replace(path, "//", "/", 1)))
	if err != nil {
		return uri
	}
	for line := range strings.Lines(string(content)) {
		if f := strings.Fields(line); len(f) > 0 && !strings.HasPrefix(f[0], "#") {
			return f[0]
		}
	}
	return uri
}

// debianMirror picks Debian's own archive among the sources. Others publish suites that are
// called by Debian's names, and theirs lack Debian's packages; an archive of Debian has
// "debian" or "debian-security" in its path and a component main.
func debianMirror(sources []aptSource) mirror {
	var m mirror
	for _, s := range sources {
		if !strings.HasPrefix(s.uri, "http://") && !strings.HasPrefix(s.uri, "https://") || !slices.Contains(s.components, "main") {
			continue
		}
		path := strings.Split(s.uri, "/")[3:]
		switch {
		case slices.Contains(path, "debian-security") && strings.HasSuffix(s.suite, "-security"):
			if m.security == "" {
				m.security = s.uri
			}
		case slices.Contains(path, "debian") && slices.Contains(debianSuites, s.suite):
			if m.main == "" {
				m.main = s.uri
			}
		}
	}
	return m
}

var debianSuites = []string{
	"bullseye", "bookworm", "trixie", "forky", "sid",
	"oldoldstable", "oldstable", "stable", "testing", "unstable",
}

// inheritedOptions are the settings of this machine's apt that decide whether a mirror can be
// used: its proxies, and whether a mirror may lag behind. mmdebstrap reads none of them.
func inheritedOptions(ctx context.Context) ([]string, error) {
	out, err := exec.CommandContext(ctx, "apt-config", "dump", "--no-empty", "--format", `%f "%v";%n`,
		"Acquire::Check-Valid-Until", "Acquire::Check-Date", "Acquire::http::Proxy", "Acquire::https::Proxy").Output()
	if err != nil {
		return nil, fmt.Errorf("reading the machine's apt configuration: apt-config dump: %w", err)
	}
	var options []string
	for line := range bytes.Lines(out) {
		if line := strings.TrimSpace(string(line)); line != "" {
			options = append(options, line)
		}
	}
	return options, nil
}
