package remote

import (
	"net"
	"strconv"
	"strings"
)

// parseJump reads one hop of ssh's ProxyJump: [user@]host[:port] or an ssh:// URI of these.
func parseJump(spec string) (Target, error) {
	bad := newError(ErrTarget, "", "connect", "the jump host "+strconv.Quote(spec)+" is not [user@]host[:port]", "", nil)
	rest := strings.TrimPrefix(strings.TrimSpace(spec), "ssh://")
	var t Target
	if user, host, found := strings.Cut(rest, "@"); found {
		t.User, rest = user, host
	}
	switch {
	case strings.HasPrefix(rest, "["), strings.Count(rest, ":") == 1:
		host, port, err := net.SplitHostPort(rest)
		if err != nil {
			if inner, ok := strings.CutSuffix(strings.TrimPrefix(rest, "["), "]"); ok { // [::1]
				t.Address = inner
				break
			}
			return Target{}, bad
		}
		n, err := strconv.Atoi(port)
		if err != nil || n < 1 {
			return Target{}, bad
		}
		t.Address, t.Port = host, n
	default:
		t.Address = rest
	}
	if t.Address == "" {
		return Target{}, bad
	}
	return t, t.validate()
}
