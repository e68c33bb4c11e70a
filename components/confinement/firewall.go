// Package confinement renders what confines a host besides the sandboxes of its services: a
// packet filter, the settings of sshd, profiles of AppArmor, rules of the kernel's audit.
//
// It exists so that each is text made of typed values, visible in a preview and golden-tested
// without a host. What a value could mean beside itself in these languages is refused where it is
// rendered, whoever has checked it before.
package confinement

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"github.com/llmhost/llmhost/internal/hostfile"
)

// FirewallPath is where the host keeps its packet filter for the next boot.
const FirewallPath = "/etc/llmhost/firewall.nft"

// Firewall is a packet filter in the table "inet llmhost". A packet must get past every table of
// a host, so that this one closes what it closes whatever others allow, and opens nothing that
// others have closed.
type Firewall struct {
	Drop   bool  // everything that isn't allowed, and not only Ports
	SSH    []int // ports of SSH
	Ports  []int // TCP ports of the host's model servers
	Allows []hostfile.Allow
}

// NewFirewall gathers the packet filter of a host. The SSH ports come from its facts: through a
// translated address it is reached on another port than sshd listens on.
func NewFirewall(h *hostfile.Host, facts *hostfile.Facts) Firewall {
	f := Firewall{Drop: h.Firewall.Policy == hostfile.PolicyDrop, Allows: h.Firewall.Allows}
	switch {
	case facts != nil && len(facts.SSHPorts) > 0:
		f.SSH = facts.SSHPorts
	case h.SSH != nil && h.SSH.Port != 0:
		f.SSH = []int{h.SSH.Port}
	default:
		f.SSH = []int{22}
	}
	for i := range h.Servers {
		if listen := h.Servers[i].Listen; !listen.Unix && listen.Addr.IsValid() {
			f.Ports = append(f.Ports, int(listen.Addr.Port()))
		}
	}
	slices.Sort(f.Ports)
	f.Ports = slices.Compact(f.Ports)
	return f
}

// bridges are the interfaces behind which containers are, as Docker and Podman name them.
var bridges = []string{"docker*", "br-*", "podman*"}

// Text renders the filter as nft reads it. The first lines make it replace its table in the one
// transaction that loads it.
func (f Firewall) Text() (string, error) {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("table inet llmhost")
	line("delete table inet llmhost")
	line("table inet llmhost {")

	line("\tchain input {")
	line("\t\ttype filter hook input priority filter; policy %s;", f.policy())
	line("\t\tct state established,related accept")
	line("\t\tiifname \"lo\" accept")
	if f.Drop {
		// What a network stops working without (RFC 4890 for IPv6), and being found by ping.
		line("\t\ticmp type { echo-request, destination-unreachable, time-exceeded, parameter-problem } accept")
		line("\t\ticmpv6 type { echo-request, destination-unreachable, packet-too-big, time-exceeded, parameter-problem, " +
			"nd-router-advert, nd-neighbor-solicit, nd-neighbor-advert, mld-listener-query } accept")
		line("\t\tip6 saddr fe80::/10 udp sport 547 udp dport 546 accept comment \"DHCPv6\"")
	}
	for _, port := range f.SSH {
		if f.Drop && !slices.ContainsFunc(f.Allows, func(a hostfile.Allow) bool { return a.Port == port && a.Protocol == "tcp" }) {
			line("\t\ttcp dport %d accept comment \"ssh\"", port)
		}
	}
	for _, a := range f.Allows {
		rules, err := allow(a, a.Protocol+" dport %d")
		if err != nil {
			return "", err
		}
		b.WriteString(rules)
	}
	if closed := f.closed(); len(closed) > 0 && !f.Drop {
		line("\t\ttcp dport %s drop", set(closed))
	}
	line("\t}")

	// Ports that containers publish are translated and forwarded, so that the input chain never
	// sees them. In the forward hook a packet still tells which port its sender has asked for.
	line("\tchain forward {")
	line("\t\ttype filter hook forward priority filter - 10; policy accept;")
	line("\t\tct state established,related accept")
	line("\t\tct status dnat jump published")
	if len(f.Ports) > 0 {
		for _, bridge := range bridges {
			line("\t\tiifname != %q oifname %q tcp dport %s drop comment \"past the published port\"", bridge, bridge, set(f.Ports))
		}
	}
	line("\t}")
	line("\tchain published {")
	for _, a := range f.Allows {
		rules, err := allow(a, "meta l4proto "+a.Protocol+" ct original proto-dst %d")
		if err != nil {
			return "", err
		}
		b.WriteString(rules)
	}
	switch closed := f.closed(); {
	case f.Drop:
		line("\t\tdrop")
	case len(closed) > 0:
		line("\t\tmeta l4proto tcp ct original proto-dst %s drop", set(closed))
	}
	line("\t}")
	line("}")
	return b.String(), nil
}

func (f Firewall) policy() string {
	if f.Drop {
		return "drop"
	}
	return "accept"
}

// closed are the ports that are closed although the policy is to accept: those of the servers,
// and the ones that an allow block narrows.
func (f Firewall) closed() []int {
	closed := slices.Clone(f.Ports)
	for _, a := range f.Allows {
		if a.Protocol == "tcp" {
			closed = append(closed, a.Port)
		}
	}
	slices.Sort(closed)
	return slices.Compact(closed)
}

var (
	plainName      = regexp.MustCompile(`^[a-z0-9][a-z0-9-]*$`)
	plainInterface = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,14}$`)
)

// allow are the rules that open a port; match has a place for its number.
func allow(a hostfile.Allow, match string) (string, error) {
	if !plainName.MatchString(a.Name) || a.Port < 1 || a.Port > 65535 || a.Protocol != "tcp" && a.Protocol != "udp" {
		return "", fmt.Errorf("%s: allow %q can't be written as a rule of nftables", a.Range, a.Name)
	}
	in := ""
	if a.Interface != "" {
		if !plainInterface.MatchString(a.Interface) {
			return "", fmt.Errorf("%s: allow %q: %q is no name of a network interface", a.At("interface"), a.Name, a.Interface)
		}
		in = fmt.Sprintf("iifname %q ", a.Interface)
	}
	rule := fmt.Sprintf(match, a.Port) + fmt.Sprintf(" accept comment %q", a.Name)
	if len(a.From) == 0 {
		return "\t\t" + in + rule + "\n", nil
	}
	var b strings.Builder
	for _, family := range []struct {
		name string
		is   func(netip.Addr) bool
	}{{"ip", netip.Addr.Is4}, {"ip6", netip.Addr.Is6}} {
		var from []string
		for _, p := range a.From {
			if family.is(p.Addr()) {
				from = append(from, p.String())
			}
		}
		if len(from) > 0 {
			fmt.Fprintf(&b, "\t\t%s%s saddr { %s } %s\n", in, family.name, strings.Join(from, ", "), rule)
		}
	}
	return b.String(), nil
}

func set(ports []int) string {
	words := make([]string, len(ports))
	for i, port := range ports {
		words[i] = fmt.Sprint(port)
	}
	return "{ " + strings.Join(words, ", ") + " }"
}
