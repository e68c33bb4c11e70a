package lab

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestMirrorIsTheMachinesOwn(t *testing.T) {
	oneLine := `
# deb http://off.example/debian trixie main
deb-src http://src.example/debian trixie main
deb https://apt.example.com trixie main
deb [arch=amd64 signed-by=/usr/share/keyrings/k.gpg] https://download.example.com/linux/debian trixie stable
deb [signed-by=/k.gpg] http://near.example/debian/ bookworm main contrib # comment
deb http://near.example/debian-security bookworm-security main
deb http://later.example/debian bookworm main
`
	deb822 := `Types: deb deb-src
# URIs: http://commented.example/debian
URIs: http://snap.example/archive/debian/20250520T000000Z
Suites: bookworm
 bookworm-updates
Components: main
Signed-By: /k.gpg

Types: deb
URIs: http://disabled.example/debian
Suites: trixie
Components: main
Enabled: no

types: deb
uris: https://snap.example/debian-security
suites: bookworm-security
components: main
`
	for _, tt := range []struct {
		name    string
		sources []aptSource
		want    mirror
	}{
		{"one-line", parseSourcesList([]byte(oneLine)), mirror{"http://near.example/debian/", "http://near.example/debian-security"}},
		{"deb822", parseDeb822([]byte(deb822)), mirror{"http://snap.example/archive/debian/20250520T000000Z", "https://snap.example/debian-security"}},
		{"another distribution", parseSourcesList([]byte("deb http://archive.example/ubuntu noble main universe\n")), mirror{}},
		{"installation medium", parseSourcesList([]byte("deb cdrom:[Debian 12]/ bookworm main\ndeb file:/srv/debian bookworm main\n")), mirror{}},
		{"nothing", parseDeb822(nil), mirror{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, debianMirror(tt.sources), cmp.AllowUnexported(mirror{})); diff != "" {
				t.Errorf("the mirror (-want +got):\n%s", diff)
			}
		})
	}
}

func TestSourcesOfASuite(t *testing.T) {
	m := mirror{"http://near.example/debian", "http://near.example/debian-security"}
	for _, tt := range []struct {
		name, suite string
		mirror      mirror
		want        []string // address and suite of each line
	}{
		{"a release", "trixie", m, []string{"http://near.example/debian trixie", "http://near.example/debian trixie-updates", "http://near.example/debian-security trixie-security"}},
		{"no security mirror", "trixie", mirror{main: m.main}, []string{"http://near.example/debian trixie", "http://near.example/debian trixie-updates"}},
		{"the engine's", "forky", m, []string{"http://near.example/debian forky"}},
		{"mmdebstrap's default", "trixie", mirror{}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			for _, line := range tt.mirror.sources(tt.suite) {
				line, isSource := strings.CutPrefix(line, "deb [signed-by="+debianKeyring+"] ")
				line, hasMain := strings.CutSuffix(line, " main")
				if !isSource || !hasMain {
					t.Errorf("%q isn't a verified source of main", line)
				}
				got = append(got, line)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("the sources (-want +got):\n%s", diff)
			}
		})
	}
}
