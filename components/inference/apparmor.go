package inference

import (
	"fmt"
	"path"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/llmhost/llmhost/components/confinement"
	"github.com/llmhost/llmhost/internal/hostfile"
	"github.com/llmhost/llmhost/internal/sdk/llmhost"
)

// newAppArmor is how AppArmor treats the server. What the host file doesn't say is enforced where
// a real engine was seen to work under its profile, and only logged elsewhere.
func newAppArmor(s *Server, facts *hostfile.Facts) (string, error) {
	has := facts != nil && facts.AppArmor
	asked := s.Server.AppArmor
	switch {
	case s.Server.Runtime != hostfile.RuntimeSystemd:
		return hostfile.AppArmorOff, nil
	case asked != "" && asked != hostfile.AppArmorOff && facts != nil && !has:
		return "", fmt.Errorf("%s: server %q has apparmor = %q, and by its facts the host has no AppArmor (llmhost probe says what it has)", s.Server.At("apparmor"), s.Server.Name, asked)
	case asked != "":
		return asked, nil
	case !has:
		return hostfile.AppArmorOff, nil
	case s.Engine.Kind != hostfile.KindLlamaCpp || s.GPU != nil:
		return hostfile.AppArmorComplain, nil
	}
	return hostfile.AppArmorEnforce, nil
}

// Profile is the server's profile of AppArmor, nil if it has none.
//
// It says again, in a second mechanism of the kernel, what the unit says, and three things that a
// unit can't: no program is ever started but the engine's own, nothing that can be written can be
// run or mapped as code, and of the engine's files only those that a server needs are read.
func (s *Server) Profile() *confinement.Profile {
	if s.AppArmor == hostfile.AppArmorOff || s.AppArmor == "" {
		return nil
	}
	command := s.Command()
	p := &confinement.Profile{
		Name:     "llmhost-" + s.Server.Name,
		Complain: s.AppArmor == hostfile.AppArmorComplain,
		Peers:    []string{"unconfined"}, // systemd
		Network:  s.sockets(command),
	}
	allow := func(access confinement.Access, paths ...string) {
		for _, file := range paths {
			p.Rules = append(p.Rules, confinement.Rule{Path: file, Access: access})
		}
	}
	// The engine. systemd has started it when the profile begins to hold, so that its program needn't
	// be executable.
	program := confinement.Load
	if s.Engine.Kind != hostfile.KindLlamaCpp { // others start their workers, and compilers
		program = confinement.Execute
	}
	allow(confinement.Load, "/{usr/,}{lib,lib64}/**")
	if dir := path.Dir(strings.Join(command.Program[:1], "")); dir != "/" {
		allow(program, dir+"/**")
		allow(confinement.Read, "/", dir+"/") // it looks for its backends beside itself
	}
	allow(confinement.Load, programInside)
	allow(confinement.Read, "/etc/{ld.so.cache,ld.so.preload,nsswitch.conf,passwd,group,hosts,localtime}",
		"/{run,usr/share}/zoneinfo/**", "/usr/share/locale/**")
	if s.Engine.Form() == hostfile.FormVenv {
		allow(confinement.Execute, "/usr/{bin,libexec}/**", s.venv()+"/**")
		allow(confinement.Read, "/usr/{share,include}/**", "/etc/alternatives/**")
	}

	// What it serves, and to whom.
	allow(confinement.Read, modelsInside+"/")
	for _, model := range s.modelsInside() {
		allow(confinement.Read, model, model+"/**")
	}
	for _, f := range command.Files {
		allow(confinement.Read, f.Inside)
	}
	if s.Server.Listen.Unix {
		allow(confinement.Write, path.Dir(s.Server.Socket())+"/", s.Server.Socket())
	}

	allow(confinement.Read, "/run/credentials/**")

	// What every program asks the kernel.
	allow(confinement.Read, "/proc/**", "/sys/devices/system/{cpu,node}/**", "/sys/fs/cgroup/**", "/sys/kernel/mm/transparent_hugepage/**")
	allow(confinement.Write, "/dev/null", "/dev/zero", "/dev/full")
	allow(confinement.Read, "/dev/{random,urandom}")
	for _, folder := range command.AllScratch() {
		access := confinement.Lock
		if folder.Exec {
			access = confinement.Generate
		}
		allow(access, folder.Path+"/", folder.Path+"/**")
	}
	if s.GPU != nil {
		allow(confinement.Write, "/dev/nvidia*", "/dev/nvidia-caps/**", "/dev/dri/**", "/dev/kfd")
		allow(confinement.Load, driverInside+"/**")
		allow(confinement.Read, "/sys/**", "/usr/share/**", "/etc/**")
	}
	return p
}

// sockets are the kinds that the server may make, as its unit says in address families.
func (s *Server) sockets(command Command) []string {
	var kinds []string
	if s.Server.Listen.Unix || command.InnerPorts != NoPorts {
		kinds = append(kinds, "unix stream", "unix dgram")
	}
	inet := !s.Server.Listen.Unix || command.InnerPorts != NoPorts
	if inet {
		kinds = append(kinds, "inet stream", "inet6 stream")
	}
	if command.InnerPorts != NoPorts {
		kinds = append(kinds, "inet dgram", "inet6 dgram", "netlink raw")
	}
	return kinds
}

// declareProfile declares the server's profile of AppArmor, if it has one.
func (m *ModelServer) declareProfile(ctx *pulumi.Context, name string, s *Server) error {
	profile := s.Profile()
	if profile == nil {
		return nil
	}
	text, err := profile.Text()
	if err != nil {
		return fmt.Errorf("%s: server %q: %w", s.Server.Range, name, err)
	}
	m.Profile, err = llmhost.NewAppArmorProfile(ctx, name+"-apparmor", &llmhost.AppArmorProfileArgs{
		Path:    pulumi.String(profile.Path()),
		Content: pulumi.String(text),
		Mode:    pulumi.String(s.AppArmor),
	}, pulumi.Parent(m))
	if err != nil {
		return fmt.Errorf("declare the AppArmor profile of server %q: %w", name, err)
	}
	return nil
}
