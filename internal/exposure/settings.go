package exposure

import (
	_ "embed"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/llmhost/llmhost/internal/unitfile"
)

// settings are what a unit's directives come to: the last assignment of a single value, lists as
// they were added to, reset and subtracted from, as systemd.exec(5) says for each.
type settings struct {
	single map[string]string // directives of which the last assignment counts
	groups []string          // SupplementaryGroups=

	defaultDependencies bool

	bounding, ambient set // capabilities
	namespaces        set // that may be created

	families      set // address families
	onlyFamilies  bool
	architectures set

	calls     set // system calls
	onlyCalls bool

	denied, allowed []netip.Prefix // addresses
	filters         bool           // programs that filter addresses
	devices         bool           // some are allowed
}

type set map[string]bool

func setOf(names ...string) set {
	s := set{}
	for _, n := range names {
		s[n] = true
	}
	return s
}

func (s set) has(names ...string) bool {
	return slices.ContainsFunc(names, func(n string) bool { return s[n] })
}

func (s set) remove(names ...string) {
	for _, n := range names {
		delete(s, n)
	}
}

func newSettings() *settings {
	return &settings{
		single:              map[string]string{},
		defaultDependencies: true,
		bounding:            setOf(capabilities...),
		ambient:             set{},
		namespaces:          setOf(namespaces...),
		families:            set{},
		architectures:       set{},
		calls:               set{},
	}
}

func (s *settings) assign(section, name, value string) {
	value = strings.TrimSpace(value)
	switch {
	case section == "Unit" && name == "DefaultDependencies":
		s.defaultDependencies = truth(value, true)
		return
	case section != "Service":
		return
	}
	words := words(value)
	switch name {
	case "SupplementaryGroups":
		s.groups = appendOrReset(s.groups, words)
	case "CapabilityBoundingSet":
		s.bounding = combine(s.bounding, words, capabilities, true)
	case "AmbientCapabilities":
		s.ambient = combine(s.ambient, words, capabilities, false)
	case "RestrictNamespaces":
		s.restrictNamespaces(value, words)
	case "RestrictAddressFamilies":
		s.restrictFamilies(words)
	case "SystemCallArchitectures":
		if len(words) == 0 {
			s.architectures = set{}
		}
		for _, w := range words {
			s.architectures[w] = true
		}
	case "SystemCallFilter":
		s.filterCalls(words)
	case "IPAddressDeny":
		s.denied = addresses(s.denied, words)
	case "IPAddressAllow":
		s.allowed = addresses(s.allowed, words)
	case "IPIngressFilterPath", "IPEgressFilterPath":
		s.filters = len(words) > 0
	case "DeviceAllow":
		s.devices = len(words) > 0
	case "LoadCredentialEncrypted", "SetCredentialEncrypted":
		// They may be sealed by a TPM, so that systemd opens it to the service.
		s.devices = s.devices || len(words) > 0
	default:
		s.single[name] = value
	}
}

// imply does what systemd does after it has read a unit: some directives bring others.
func (s *settings) imply() {
	if s.yes("PrivateDevices") {
		s.bounding.remove("CAP_MKNOD", "CAP_SYS_RAWIO")
		if p := s.single["DevicePolicy"]; p == "" || p == "auto" {
			s.single["DevicePolicy"] = "closed"
		}
	}
	if s.yes("ProtectKernelModules") {
		s.bounding.remove("CAP_SYS_MODULE")
	}
	if s.yes("ProtectKernelLogs") {
		s.bounding.remove("CAP_SYSLOG")
	}
	if s.yes("ProtectClock") {
		s.bounding.remove("CAP_SYS_TIME", "CAP_WAKE_ALARM")
		s.devices = true // the clock, to be read
	}
	if s.yes("DynamicUser") {
		for _, name := range []string{"PrivateTmp", "RemoveIPC", "NoNewPrivileges", "RestrictSUIDSGID"} {
			s.single[name] = "yes"
		}
		if !s.protects("ProtectSystem") {
			s.single["ProtectSystem"] = "strict"
		}
		if !s.protects("ProtectHome") {
			s.single["ProtectHome"] = "read-only"
		}
	}
}

// yes tells whether a boolean directive is on. Some newer systemd versions know more words for how
// a directive is on, all of which count as yes.
func (s *settings) yes(name string) bool { return truth(s.single[name], false) }

func (s *settings) protects(name string) bool {
	v := s.single[name]
	return v != "" && (truth(v, false) || !isFalse(v))
}

func isFalse(v string) bool {
	is, ok := unitfile.Bool(v)
	return ok && !is
}

func isTrue(v string) bool {
	is, ok := unitfile.Bool(v)
	return ok && is
}

// waysOfYes are what newer versions than the first accept beside yes and no: PrivateTmp= and
// PrivateUsers= since 257, ProtectControlGroups= since 257, Delegate= names controllers.
var waysOfYes = []string{"disconnected", "self", "identity", "full", "private", "strict"}

func truth(v string, unset bool) bool {
	if v == "" {
		return unset
	}
	return isTrue(v) || slices.Contains(waysOfYes, v)
}

func (s *settings) root() bool {
	user := s.single["User"]
	if user == "0" || user == "root" {
		return true
	}
	return user == "" && !s.yes("DynamicUser")
}

func (s *settings) umask() uint64 {
	n, err := strconv.ParseUint(s.single["UMask"], 8, 32)
	if err != nil {
		return 0o022
	}
	return n
}

// words splits a list. One that systemd couldn't read is none to it.
func words(value string) []string {
	all, err := unitfile.Words(value, false)
	if err != nil {
		return nil
	}
	return unitfile.Texts(all)
}

func appendOrReset(list, words []string) []string {
	if len(words) == 0 {
		return nil
	}
	return append(list, words...)
}

// inverted tells whether a list says what is taken away.
func inverted(words []string) ([]string, bool) {
	if len(words) == 0 || !strings.HasPrefix(words[0], "~") {
		return words, false
	}
	rest := slices.Clone(words)
	if rest[0] = rest[0][1:]; rest[0] == "" {
		rest = rest[1:]
	}
	return rest, true
}

// combine is how a set of capabilities takes a further assignment: the first replaces what was there
// by default, others add or take away.
func combine(now set, words, all []string, full bool) set {
	words, invert := inverted(words)
	untouched := len(now) == 0
	if full {
		untouched = len(now) == len(all)
	}
	if len(words) == 0 || untouched {
		now = set{}
		if invert {
			now = setOf(all...)
		}
	}
	for _, w := range words {
		if w = strings.ToUpper(w); invert {
			delete(now, w)
		} else {
			now[w] = true
		}
	}
	return now
}

func (s *settings) restrictNamespaces(value string, words []string) {
	switch {
	case value == "" || isFalse(value):
		s.namespaces = setOf(namespaces...)
		return
	case isTrue(value):
		s.namespaces = set{}
		return
	}
	words, invert := inverted(words)
	if !invert && len(s.namespaces) == len(namespaces) {
		s.namespaces = set{}
	}
	for _, w := range words {
		if invert {
			delete(s.namespaces, w)
		} else {
			s.namespaces[w] = true
		}
	}
}

func (s *settings) restrictFamilies(words []string) {
	switch {
	case len(words) == 0:
		s.families, s.onlyFamilies = set{}, false
		return
	case len(words) == 1 && words[0] == "none":
		s.families, s.onlyFamilies = set{}, true
		return
	}
	words, invert := inverted(words)
	if len(s.families) == 0 && !s.onlyFamilies {
		s.onlyFamilies = !invert
	}
	for _, w := range words {
		if invert == s.onlyFamilies {
			delete(s.families, w)
		} else {
			s.families[w] = true
		}
	}
}

// mayUse tells whether a socket of one of these families may be opened. A list that denies has to
// name one of them, as systemd-analyze counts.
func (s *settings) mayUse(of func(family string) bool) bool {
	for f := range s.families {
		if of(f) {
			return s.onlyFamilies
		}
	}
	return !s.onlyFamilies
}

func (s *settings) filterCalls(words []string) {
	if len(words) == 0 {
		s.calls, s.onlyCalls = set{}, false
		return
	}
	words, invert := inverted(words)
	if len(s.calls) == 0 && !s.onlyCalls {
		if s.onlyCalls = !invert; s.onlyCalls {
			addCalls(s.calls, "@default")
		}
	}
	for _, w := range words {
		w, _, _ = strings.Cut(w, ":") // what the call then returns
		if invert == s.onlyCalls {
			for call := range callsOf(w) {
				delete(s.calls, call)
			}
		} else {
			addCalls(s.calls, w)
		}
	}
}

func addCalls(to set, name string) {
	for call := range callsOf(name) {
		to[call] = true
	}
}

// mayCall tells whether any call of a group may be made.
func (s *settings) mayCall(group string) bool {
	for call := range callsOf(group) {
		if s.calls[call] == s.onlyCalls {
			return true
		}
	}
	return false
}

// syscalls.txt says in its head where it is from.
//
//go:embed syscalls.txt
var syscalls string

var callGroups = func() map[string][]string {
	groups := map[string][]string{}
	for line := range strings.Lines(syscalls) {
		if name, calls, ok := strings.Cut(line, ":"); ok && strings.HasPrefix(name, "@") {
			groups[name] = strings.Fields(calls)
		}
	}
	return groups
}()

// callsOf are the calls that a name stands for: itself, or those of a group.
func callsOf(name string) set {
	if !strings.HasPrefix(name, "@") {
		return setOf(name)
	}
	all := set{}
	for _, member := range callGroups[name] {
		addCalls(all, member)
	}
	return all
}

// addressNames are the names that stand for addresses (systemd.resource-control(5)).
var addressNames = map[string][]string{
	"any":        {"0.0.0.0/0", "::/0"},
	"localhost":  {"127.0.0.0/8", "::1/128"},
	"link-local": {"169.254.0.0/16", "fe80::/64"},
	"multicast":  {"224.0.0.0/4", "ff00::/8"},
}

func addresses(list []netip.Prefix, words []string) []netip.Prefix {
	if len(words) == 0 {
		return nil
	}
	for _, w := range words {
		names, ok := addressNames[w]
		if !ok {
			names = []string{w}
		}
		for _, n := range names {
			if p, err := netip.ParsePrefix(n); err == nil {
				list = append(list, p.Masked())
			} else if a, err := netip.ParseAddr(n); err == nil {
				list = append(list, netip.PrefixFrom(a, a.BitLen()))
			}
		}
	}
	return list
}

func (s *settings) deniesAll() bool {
	var four, six bool
	for _, p := range s.denied {
		if p.Bits() == 0 {
			four = four || p.Addr().Is4()
			six = six || p.Addr().Is6()
		}
	}
	return four && six
}
