package hostfile

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"strings"

	"github.com/zclconf/go-cty/cty"
)

var (
	sshAddress    = quoted("an address", parseSSHAddress)
	jumpHost      = quoted("a jump host", parseJump)
	hostKey       = quoted("a public key", parseHostKey)
	listenAddress = quoted("`unix` or an address with a port", parseListen)
)

// plainHost is a host name or an alias. It can't start with a hyphen, which ssh would read as an option.
var plainHost = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9._-]*[A-Za-z0-9_.])?$`)

func validHost(s string) bool {
	if plainHost.MatchString(s) {
		return true
	}
	_, err := netip.ParseAddr(s)
	return err == nil
}

func parseSSHAddress(s string) (string, error) {
	if validHost(s) {
		return s, nil
	}
	wrong := fmt.Sprintf("is %q, which is no host name, IP address or alias", s)
	if user, host, ok := strings.Cut(s, "@"); ok && validHost(host) {
		return "", faultf(wrong, "Write the user as its own attribute: user = %q.", user)
	}
	if host, port, ok := cutPort(s); ok && validHost(host) {
		return "", faultf(wrong, "Write the port as its own attribute: port = %d.", port)
	}
	return "", faultf(wrong, "Write it without user, port and scheme.")
}

// cutPort cuts a port number off, also off an IPv6 address in brackets.
func cutPort(s string) (host string, port uint16, ok bool) {
	i := strings.LastIndexByte(s, ':')
	if i < 0 {
		return s, 0, false
	}
	n, err := strconv.ParseUint(s[i+1:], 10, 16)
	if err != nil || n == 0 {
		return s, 0, false
	}
	host = s[:i]
	if strings.HasPrefix(host, "[") && strings.HasSuffix(host, "]") {
		host = host[1 : len(host)-1]
	}
	return host, uint16(n), true
}

func parseJump(s string) (string, error) {
	host := s
	if user, rest, ok := strings.Cut(s, "@"); ok {
		if _, err := accountName.decode(scope{}, cty.StringVal(user)); err != nil {
			return "", faultf(fmt.Sprintf("is %q, whose user isn't a valid name", s), "Write [user@]host[:port].")
		}
		host = rest
	}
	if h, _, ok := cutPort(host); ok && plainOrBracketed(host) {
		host = h
	}
	if !validHost(host) {
		return "", faultf(fmt.Sprintf("is %q, which is no jump host", s), "Write [user@]host[:port], an IPv6 address with a port in brackets.")
	}
	return s, nil
}

// plainOrBracketed tells host:port from an IPv6 address without a port.
func plainOrBracketed(s string) bool { return strings.Count(s, ":") == 1 || strings.HasPrefix(s, "[") }

// hostKeyFields is how many fields a public key of each type has on the wire, its type's name included (RFC 4253, 5656, 8709).
var hostKeyFields = map[string]int{
	"ssh-ed25519":         2,
	"ecdsa-sha2-nistp256": 3,
	"ecdsa-sha2-nistp384": 3,
	"ecdsa-sha2-nistp521": 3,
	"ssh-rsa":             3,
}

// parseHostKey checks a key in the form of authorized_keys down to the end of its last field, so that a key that was cut
// while it was copied is found here and not as a mismatch. It returns the key without its comment.
func parseHostKey(s string) (string, error) {
	fields := strings.Fields(s)
	var types []string
	for t := range hostKeyFields {
		types = append(types, t)
	}
	const form = `Write it as in /etc/ssh/ssh_host_ed25519_key.pub on the host: "ssh-ed25519 AAAA…".`
	if len(fields) == 0 {
		return "", faultf("is empty", form)
	}
	want, known := hostKeyFields[fields[0]]
	if !known {
		return "", faultf(fmt.Sprintf("starts with %q, which is an unknown type of key", fields[0]), "%sKnown: %s. "+form,
			didYouMean(nearest(fields[0], types)), list(types))
	}
	if len(fields) < 2 {
		return "", faultf("has a type but no key", form)
	}
	blob, err := base64.StdEncoding.DecodeString(fields[1])
	if err != nil {
		return "", faultf("isn't base64 after its type", "Was it cut while it was copied? "+form)
	}
	var parts [][]byte
	for rest := blob; len(rest) > 0; {
		if len(rest) < 4 || uint64(len(rest)-4) < uint64(binary.BigEndian.Uint32(rest)) {
			return "", faultf("ends in the middle of the key", "Was it cut while it was copied? "+form)
		}
		n := 4 + int(binary.BigEndian.Uint32(rest))
		parts, rest = append(parts, rest[4:n]), rest[n:]
	}
	if len(parts) != want || string(parts[0]) != fields[0] || fields[0] == "ssh-ed25519" && len(parts[1]) != 32 {
		return "", faultf(fmt.Sprintf("isn't a key of the type %s that it starts with", fields[0]), form)
	}
	return fields[0] + " " + fields[1], nil
}

func parseListen(s string) (Listen, error) {
	if s == "unix" {
		return Listen{Unix: true}, nil
	}
	const loopbackOnly = "A server is reachable from its own host alone, since TLS and authentication have to stand in front of it elsewhere; llmhost tunnel carries it to you through SSH."
	wrong := func(problem, hint string, args ...any) (Listen, error) {
		return Listen{}, faultf(fmt.Sprintf("is %q, which "+problem, s), hint, args...)
	}
	addr, err := netip.ParseAddrPort(s)
	if err != nil {
		if n, err := strconv.ParseUint(strings.TrimPrefix(s, ":"), 10, 16); err == nil {
			return wrong("has no address", "Did you mean %q? "+loopbackOnly, fmt.Sprintf("127.0.0.1:%d", n))
		}
		if port, ok := strings.CutPrefix(s, "localhost:"); ok {
			return wrong("is a name and not an address", "Did you mean %q?", "127.0.0.1:"+port)
		}
		return wrong("is neither unix nor an address with a port", "%sWrite %q, or a loopback address with a port such as %q.",
			didYouMean(nearest(s, []string{"unix"})), "unix", "127.0.0.1:8002")
	}
	if !addr.Addr().IsLoopback() || addr.Addr().Is4In6() || addr.Addr().Zone() != "" {
		return wrong("isn't a loopback address", "Did you mean %q? "+loopbackOnly, fmt.Sprintf("127.0.0.1:%d", addr.Port()))
	}
	// A server has no capability, and the kernel reserves these ports (net.ipv4.ip_unprivileged_port_start).
	if addr.Port() < 1024 {
		return wrong("has a port below 1024", "Those need a privilege that a server doesn't have. Use a higher one.")
	}
	return Listen{Addr: addr}, nil
}
