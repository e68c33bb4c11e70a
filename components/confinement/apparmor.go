package confinement

import (
	"errors"
	"fmt"
	"path"
	"regexp"
	"strings"
)

// Profile is a profile of AppArmor. It isn't attached to a program: who is to be confined by it
// names it.
type Profile struct {
	Name     string // llmhost-NAME
	Complain bool   // what it doesn't name is logged and not refused
	Rules    []Rule
	// Network are the kinds of sockets that may be made, such as "unix stream" or "inet stream".
	Network []string
	// Peers are other profiles whose processes may send signals; "unconfined" is everybody who has
	// none.
	Peers []string
}

// Rule allows access to files.
type Rule struct {
	Path   string // a path or a pattern of apparmor.d(5), as the process sees it
	Access Access
}

// Access is what may be done with a file.
type Access string

// The kinds of access that profiles are made of. None lets a file be written and executed.
const (
	Read     Access = "r"
	Load     Access = "rm" // read, and mapped as code: libraries
	Execute  Access = "rix"
	Write    Access = "rw"
	Generate Access = "rwmk" // code that the process makes and then maps
	Lock     Access = "rwk"
)

// ProfileFolder is where profiles are kept; the host loads all of it at a boot.
const ProfileFolder = "/etc/apparmor.d"

// Path is the profile's file on the host.
func (p Profile) Path() string { return path.Join(ProfileFolder, p.Name) }

var (
	// rulePath allows patterns and nothing that ends a rule, begins a comment or names a variable.
	rulePath    = regexp.MustCompile(`^/[A-Za-z0-9._/+@:*?\[\]{},-]*$`)
	networkRule = regexp.MustCompile(`^(unix|inet|inet6|netlink) (stream|dgram|raw)$`)
	profileName = regexp.MustCompile(`^llmhost-[a-z0-9][a-z0-9-]*$`)
	peerName    = regexp.MustCompile(`^(unconfined|llmhost-[a-z0-9][a-z0-9-]*)$`)
)

// Text renders the profile as apparmor_parser reads it.
//
// The flags follow from how servers run: a root directory of systemd's is a mount namespace whose
// root is another, and what is bound into it from outside has a path only when it is attached to
// that root.
func (p Profile) Text() (string, error) {
	if !profileName.MatchString(p.Name) {
		return "", fmt.Errorf("%q is no name of a profile", p.Name)
	}
	flags := "attach_disconnected,mediate_deleted"
	if p.Complain {
		flags += ",complain"
	}
	var b strings.Builder
	var faults []error
	fmt.Fprintf(&b, "profile %s flags=(%s) {\n", p.Name, flags)
	for _, network := range p.Network {
		if !networkRule.MatchString(network) {
			faults = append(faults, fmt.Errorf("the network rule %q", network))
		}
		fmt.Fprintf(&b, "  network %s,\n", network)
	}
	if len(p.Network) > 0 {
		b.WriteString("  unix,\n") // where the kernel asks about each of them; which kinds is said above
	}
	for _, peer := range append([]string{p.Name}, p.Peers...) {
		if !peerName.MatchString(peer) {
			faults = append(faults, fmt.Errorf("the peer %q", peer))
		}
		fmt.Fprintf(&b, "  signal (receive) peer=%s,\n", peer)
	}
	fmt.Fprintf(&b, "  signal (send) peer=%s,\n", p.Name)
	for _, r := range p.Rules {
		if !rulePath.MatchString(r.Path) {
			faults = append(faults, fmt.Errorf("the path %q", r.Path))
		}
		fmt.Fprintf(&b, "  %s %s,\n", r.Path, r.Access)
	}
	b.WriteString("}\n")
	if err := errors.Join(faults...); err != nil {
		return "", fmt.Errorf("the profile %s can't be written: %w", p.Name, err)
	}
	return b.String(), nil
}
