package guard

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/llmhost/llmhost/internal/agent/durable"
	"github.com/llmhost/llmhost/internal/agent/fault"
)

// The unit that undoes at a boot. It is there only while a change waits, so systemd needn't know
// of it before the machine is started again, and no reload is asked for.
const (
	bootUnit = "etc/systemd/system/llmhost-undo.service"
	bootLink = "etc/systemd/system/sysinit.target.wants/llmhost-undo.service"
)

// bootText is the unit. Everything ordinary is started after sysinit.target and thereby after it;
// what isn't is named.
func (g *Guard) bootText(program string) string {
	return `# Written by llmhost while a change waits to be confirmed, and removed with it.
[Unit]
Description=Undo a change that llmhost has not confirmed
DefaultDependencies=no
RequiresMountsFor=` + g.Dir + `
After=local-fs.target
Before=sysinit.target network-pre.target nftables.service llmhost-firewall.service
Before=systemd-networkd.service NetworkManager.service networking.service ssh.socket ssh.service sshd.service
Wants=network-pre.target

[Service]
Type=oneshot
ExecStart=` + program + ` undo --boot ` + g.Dir + `
TimeoutStartSec=2min

[Install]
WantedBy=sysinit.target
`
}

func (g *Guard) atBoot(program string) error {
	unit, link := filepath.Join(g.Root, bootUnit), filepath.Join(g.Root, bootLink)
	a := durable.Attributes{UID: os.Geteuid(), GID: os.Getegid(), Mode: 0o644}
	if err := durable.WriteFile(unit, []byte(g.bootText(program)), a); err != nil {
		return fault.OfPath("write", unit, err)
	}
	if err := os.MkdirAll(filepath.Dir(link), 0o755); err != nil {
		return fault.OfPath("make", filepath.Dir(link), err)
	}
	if err := os.Symlink("../llmhost-undo.service", link); err != nil && !errors.Is(err, fs.ErrExist) {
		return fault.OfPath("make", link, err)
	}
	return syncFolders(unit, link)
}

// notAtBoot takes the link first: a link to nothing would be an error at the boot.
func (g *Guard) notAtBoot() error {
	unit, link := filepath.Join(g.Root, bootUnit), filepath.Join(g.Root, bootLink)
	for _, path := range []string{link, unit} {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fault.OfPath("remove", path, err)
		}
	}
	return syncFolders(link, unit)
}

func syncFolders(paths ...string) error {
	for _, path := range paths {
		d, _, err := durable.Parent(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fault.OfPath("open", filepath.Dir(path), err)
		}
		err = d.Sync()
		d.Close()
		if err != nil {
			return fault.OfPath("write", filepath.Dir(path), err)
		}
	}
	return nil
}
