package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"sync"

	"github.com/melbahja/goph"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// prompts asks people while a connection is being made; the clock of the handshake stands
// still meanwhile.
type prompts struct {
	passphrase, password func(ctx context.Context, prompt string) (string, error)
}

// login collects the ways to log in to a hop. goph's builders give one ssh.AuthMethod for
// each key, and the SSH library tries only the first method of a kind, so its signers are
// put into one method here.
type login struct {
	hop     hop
	prompts prompts
	agent   net.Conn // to the user's ssh-agent, if there is one
	signers []ssh.Signer
	tried   []string // what was offered, for the error
}

func newLogin(ctx context.Context, h hop, p prompts) (*login, error) {
	l := &login{hop: h, prompts: p}
	if h.agentSocket != "" {
		conn, err := (&net.Dialer{}).DialContext(ctx, "unix", h.agentSocket)
		if err == nil {
			l.agent = conn
		}
	}
	var held []ssh.Signer
	if l.agent != nil {
		var err error
		if held, err = agent.NewClient(l.agent).Signers(); err != nil {
			held = nil // an agent that does not answer holds nothing
		}
	}
	fromAgent := func(key ssh.PublicKey) ssh.Signer {
		for _, s := range held {
			if string(s.PublicKey().Marshal()) == string(key.Marshal()) {
				return s
			}
		}
		return nil
	}
	files, err := l.fileSigners(ctx, fromAgent)
	if err != nil {
		l.close()
		return nil, err
	}
	switch {
	case h.explicit || h.identitiesOnly:
		l.signers = files
	default:
		for _, s := range held {
			l.tried = append(l.tried, "a key of ssh-agent ("+ssh.FingerprintSHA256(s.PublicKey())+")")
		}
		l.signers = append(held, files...)
	}
	return l, nil
}

// fileSigners reads the key files. Only a file that was asked for by name must be there.
func (l *login) fileSigners(ctx context.Context, fromAgent func(ssh.PublicKey) ssh.Signer) ([]ssh.Signer, error) {
	files := l.hop.identities
	if l.hop.explicit {
		files = files[:1]
	}
	var signers []ssh.Signer
	for _, file := range files {
		signer, err := goph.GetSigner(file, "")
		var encrypted *ssh.PassphraseMissingError
		switch {
		case err == nil:
		case errors.Is(err, fs.ErrNotExist) && !l.hop.explicit:
			continue
		case errors.As(err, &encrypted):
			public := encrypted.PublicKey
			if public == nil {
				public = publicKeyFile(file + ".pub")
			}
			if public != nil {
				if signer = fromAgent(public); signer != nil {
					break
				}
			}
			signer, err = l.encryptedSigner(ctx, file, public)
			if err != nil {
				return nil, err
			}
		case errors.Is(err, fs.ErrNotExist):
			return nil, l.failure(fmt.Sprintf("the key file %s does not exist", file), "correct `identity` in the host file", err)
		case !l.hop.explicit:
			continue // some other kind of file among the defaults
		default:
			return nil, l.failure(fmt.Sprintf("the key file %s can't be used: %v", file, err), "", err)
		}
		l.tried = append(l.tried, file)
		signers = append(signers, signer)
	}
	return signers, nil
}

// encryptedSigner asks for the passphrase only when the server wants this key, as far as the
// file's format lets us know the public half.
func (l *login) encryptedSigner(ctx context.Context, file string, public ssh.PublicKey) (ssh.Signer, error) {
	open := func() (ssh.Signer, error) {
		phrase, err := l.prompts.passphrase(ctx, "Passphrase for "+file+": ")
		if err != nil {
			return nil, l.failure(fmt.Sprintf("the key file %s is encrypted: %v", file, err), "add it to ssh-agent with `ssh-add "+file+"`", err)
		}
		signer, err := goph.GetSigner(file, phrase)
		if err != nil {
			return nil, l.failure(fmt.Sprintf("the passphrase does not open %s", file), "", err)
		}
		return signer, nil
	}
	if public == nil {
		return open()
	}
	return &lazySigner{public: public, open: sync.OnceValues(open)}, nil
}

func (l *login) failure(message, hint string, cause error) error {
	return newError(ErrAuth, l.hop.alias, "connect", message, hint, cause)
}

// methods are the ways to log in, in order.
func (l *login) methods(ctx context.Context) goph.Auth {
	var methods goph.Auth
	if len(l.signers) > 0 {
		methods = append(methods, ssh.PublicKeys(l.signers...))
	}
	if l.prompts.password != nil {
		ask := sync.OnceValues(func() (string, error) {
			l.tried = append(l.tried, "a password")
			return l.prompts.password(ctx, fmt.Sprintf("Password of %s on %s: ", l.hop.user, l.hop.alias))
		})
		methods = append(methods, ssh.PasswordCallback(ask), ssh.KeyboardInteractive(
			func(_, _ string, questions []string, echos []bool) ([]string, error) {
				answers := make([]string, len(questions))
				for i := range questions {
					if echos[i] {
						continue // not a question about a password
					}
					word, err := ask()
					if err != nil {
						return nil, err
					}
					answers[i] = word
				}
				return answers, nil
			}))
	}
	return methods
}

func (l *login) close() {
	if l.agent != nil {
		l.agent.Close()
	}
}

// lazySigner is an encrypted key whose public half is known.
type lazySigner struct {
	public ssh.PublicKey
	open   func() (ssh.Signer, error)
}

func (s *lazySigner) PublicKey() ssh.PublicKey { return s.public }

func (s *lazySigner) Sign(rand io.Reader, data []byte) (*ssh.Signature, error) {
	signer, err := s.open()
	if err != nil {
		return nil, err
	}
	return signer.Sign(rand, data)
}

func (s *lazySigner) SignWithAlgorithm(rand io.Reader, data []byte, algorithm string) (*ssh.Signature, error) {
	signer, err := s.open()
	if err != nil {
		return nil, err
	}
	able, ok := signer.(ssh.AlgorithmSigner)
	if !ok {
		return nil, fmt.Errorf("this kind of key can't sign with %s", algorithm)
	}
	return able.SignWithAlgorithm(rand, data, algorithm)
}

func publicKeyFile(path string) ssh.PublicKey {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	key, _, _, _, err := ssh.ParseAuthorizedKey(raw)
	if err != nil {
		return nil
	}
	return key
}
