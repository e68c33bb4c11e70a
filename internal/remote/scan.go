package remote

import (
	"context"
	"errors"
	"net"
	"slices"

	"golang.org/x/crypto/ssh"
)

// errScanned ends a handshake whose only purpose was the host's key.
var errScanned = errors.New("the host key was seen")

// ScanHostKey asks a host for its key and logs in nowhere but at jump hosts. known is true
// if the pinned key or known_hosts confirms the key; a key that they contradict is an error.
func ScanHostKey(ctx context.Context, t Target, o Options) (key HostKey, known bool, err error) {
	if err := t.validate(); err != nil {
		return HostKey{}, false, err
	}
	o = o.withDefaults()
	c := connector{target: t, options: o}
	last, err := resolve(ctx, t, o.SSHConfig)
	if err != nil {
		return HostKey{}, false, err
	}
	way, err := c.way(ctx, last)
	if err != nil {
		return HostKey{}, false, err
	}
	keys, err := newHostKeys(last)
	if err != nil {
		return HostKey{}, false, err
	}
	var seen ssh.PublicKey
	err = retry(ctx, o.ConnectTimeout, o.Log, func() error {
		dial := (&net.Dialer{}).DialContext
		if jumps := way[:len(way)-1]; len(jumps) > 0 {
			link, err := c.through(ctx, jumps)
			if err != nil {
				return err
			}
			defer link.close()
			dial = link.client().DialContext
		}
		dialCtx, cancel := context.WithTimeout(ctx, o.HandshakeTimeout)
		defer cancel()
		transport, err := dial(dialCtx, "tcp", last.address())
		if err != nil {
			return unreachable(ctx, last, err)
		}
		defer transport.Close()
		stop := context.AfterFunc(dialCtx, func() { transport.Close() })
		defer stop()
		algorithms := keys.algorithms()
		if len(algorithms) == 0 {
			algorithms = preferredHostKeys()
		}
		_, _, _, err = ssh.NewClientConn(transport, last.address(), &ssh.ClientConfig{
			User:              last.user,
			HostKeyAlgorithms: algorithms,
			HostKeyCallback: func(_ string, _ net.Addr, k ssh.PublicKey) error {
				seen = k
				return errScanned
			},
		})
		if seen == nil {
			return c.handshakeError(ctx, last, &login{}, keys, nil, dialCtx.Err() != nil, err)
		}
		return nil
	})
	if err != nil {
		return HostKey{}, false, err
	}
	key = hostKeyOf(seen)
	if keys.pinned == nil && len(keys.known()) == 0 {
		return key, false, nil
	}
	return key, true, keys.check("", nowhere, seen)
}

// preferredHostKeys puts the shortest modern key first, for pinning.
func preferredHostKeys() []string {
	all := slices.DeleteFunc(slices.Clone(ssh.SupportedAlgorithms().HostKeys), func(a string) bool {
		return slices.Contains(certificateAlgorithms, a) || a == ssh.KeyAlgoED25519
	})
	return append([]string{ssh.KeyAlgoED25519}, all...)
}
