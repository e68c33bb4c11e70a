package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"strconv"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// rawCommand has this program send a file over a bare SSH channel to dd, with the cheapest
// cipher and large buffers: what is possible when nothing is verified, resumed or looked at.
const rawCommand = "raw-channel"

func rawChannel(args []string) error {
	p := place{address: args[0], user: args[2], key: args[3], known: args[4]}
	file, target := args[5], args[6]
	var err error
	if p.port, err = strconv.Atoi(args[1]); err != nil {
		return err
	}
	pem, err := os.ReadFile(p.key)
	if err != nil {
		return err
	}
	signer, err := ssh.ParsePrivateKey(pem)
	if err != nil {
		return err
	}
	known, err := knownhosts.New(p.known)
	if err != nil {
		return err
	}
	config := &ssh.ClientConfig{User: p.user, Auth: []ssh.AuthMethod{ssh.PublicKeys(signer)}, HostKeyCallback: known,
		HostKeyAlgorithms: []string{ssh.KeyAlgoED25519}}
	config.Ciphers = []string{ssh.CipherAES128GCM}
	client, err := ssh.Dial("tcp", net.JoinHostPort(p.address, strconv.Itoa(p.port)), config)
	if err != nil {
		return err
	}
	defer client.Close()
	session, err := client.NewSession()
	if err != nil {
		return err
	}
	stdin, err := session.StdinPipe()
	if err != nil {
		return err
	}
	if err := session.Start("dd bs=1M iflag=fullblock status=none of=" + target); err != nil {
		return err
	}
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	buf := make([]byte, 1<<20)
	for {
		n, err := f.Read(buf)
		if n > 0 {
			if _, err := stdin.Write(buf[:n]); err != nil {
				return fmt.Errorf("dd has ended: %w", err)
			}
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
	}
	if err := stdin.Close(); err != nil {
		return err
	}
	return session.Wait()
}

// args has this program run the raw channel.
func (p place) rawArgs(self, file, target string) []string {
	return []string{self, rawCommand, p.address, strconv.Itoa(p.port), p.user, p.key, p.known, file, target}
}
