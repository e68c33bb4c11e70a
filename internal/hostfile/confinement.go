package hostfile

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
)

// How AppArmor treats a server.
const (
	AppArmorEnforce  = "enforce"  // what its profile doesn't name is refused
	AppArmorComplain = "complain" // what its profile doesn't name is logged
	AppArmorOff      = "off"
)

// Sshd is how the host's SSH server lets people in.
type Sshd struct {
	Place

	PasswordAuthentication bool
	KeyboardInteractive    bool     // prompts by PAM, which may ask for a password too
	PermitRootLogin        string   // no, prohibit-password or yes
	AllowUsers             []string // who may log in; empty: everybody with an account
}

// The policies of a firewall.
const (
	PolicyAccept = "accept" // only llmhost's own ports are closed
	PolicyDrop   = "drop"   // everything is closed that isn't allowed
)

// Firewall is the host's packet filter, as far as it is llmhost's.
type Firewall struct {
	Place

	Policy string
	Allows []Allow
}

// Allow opens a port of the host.
type Allow struct {
	Place

	Name      string
	Port      int
	Protocol  string         // tcp or udp
	From      []netip.Prefix // empty: from anywhere
	Interface string         // empty: any
}

var (
	appArmorMode  = choice("mode", AppArmorEnforce, AppArmorComplain, AppArmorOff)
	rootLogin     = choice("root login", "no", "prohibit-password", "yes")
	policy        = choice("policy", PolicyAccept, PolicyDrop)
	protocol      = choice("protocol", "tcp", "udp")
	network       = quoted("a network such as `192.168.1.0/24`", parseNetwork)
	interfaceName = quoted("a network interface", parseInterface)
	allowName     = quoted("a name", parseAllowName)
)

func parseNetwork(s string) (netip.Prefix, error) {
	if addr, err := netip.ParseAddr(s); err == nil && addr.Zone() == "" {
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	switch {
	case err != nil || p.Addr().Is4In6():
		return netip.Prefix{}, faultf(fmt.Sprintf("is %q, which is no network", s), "Write an address, or a network such as %q or %q.", "192.168.1.0/24", "fd00::/8")
	case p.Masked() != p:
		return netip.Prefix{}, faultf(fmt.Sprintf("is %q, whose address has bits beyond its length", s), "Write %q for the network, or the address alone.", p.Masked())
	}
	return p, nil
}

// plainInterface is a name that the kernel takes (dev_valid_name: 15 bytes at most) and that means nothing to nft.
var plainInterface = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,14}$`)

func parseInterface(s string) (string, error) {
	if !plainInterface.MatchString(s) {
		return "", faultf(fmt.Sprintf("is %q, which is no name of a network interface", s), "Write one that ip link shows, such as %q.", "eth0")
	}
	return s, nil
}

var plainAllowName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,31}$`)

func parseAllowName(s string) (string, error) {
	if !plainAllowName.MatchString(s) {
		return "", faultf(fmt.Sprintf("is %q", s), "Use lower-case letters, digits and hyphens, at most 32.")
	}
	return s, nil
}

// checkConfinement refuses what would lock llmhost out as far as that can be seen here.
func (d *decoder) checkConfinement(h *Host) {
	if f := h.Firewall; f != nil {
		checkUnique(d, "allow", f.Allows, func(a *Allow) string { return a.Name })
	}
	s := h.Sshd
	if s == nil || h.SSH == nil || h.SSH.User == "" {
		return
	}
	user := h.SSH.User
	if len(s.AllowUsers) > 0 && !slices.Contains(s.AllowUsers, user) {
		d.errorAt(s.At("allow_users"), fmt.Sprintf("allow_users locks out %q", user), "llmhost itself logs in as that user (%s). Add it.", position(h.SSH.At("user")))
	}
	if user == "root" && s.PermitRootLogin == "no" {
		d.errorAt(s.At("permit_root_login"), "permit_root_login locks out llmhost", "It logs in as root (%s). Run llmhost bootstrap and use its user, or write %q.", position(h.SSH.At("user")), "prohibit-password")
	}
}

// checkAppArmor refuses a profile where none is made.
func (d *decoder) checkAppArmor(s *Server) {
	if _, written := s.Attributes["apparmor"]; written && s.AppArmor != AppArmorOff && s.Runtime != RuntimeSystemd && s.Runtime != "" {
		d.errorAt(s.At("apparmor"), "apparmor is for servers that systemd runs", "A container has its runtime's own profile. Remove it.")
	}
}
