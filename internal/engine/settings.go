package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pulumi/pulumi/pkg/v3/backend"
	cmdstack "github.com/pulumi/pulumi/pkg/v3/cmd/pulumi/stack"
	"github.com/pulumi/pulumi/sdk/v3/go/common/diag"
	"github.com/pulumi/pulumi/sdk/v3/go/common/diag/colors"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/config"
	"github.com/pulumi/pulumi/sdk/v3/go/common/workspace"

	"github.com/llmhost/llmhost/internal/atomicfile"
)

// settingsNamespace is where llmhost's settings of a stack are: llmhost:NAME in Pulumi.STACK.yaml.
const settingsNamespace = "llmhost"

// Settings are the settings of a stack that are encrypted with its key.
type Settings struct {
	engine *Engine
	stack  backend.Stack
	file   string
}

// Settings opens the settings of a stack.
func (e *Engine) Settings(ctx context.Context, stackName string) (*Settings, error) {
	stack, err := e.required(ctx, stackName)
	if err != nil {
		return nil, err
	}
	if stack.ConfigLocation().IsRemote {
		return nil, fmt.Errorf("the settings of stack %s aren't in a file of this project, and llmhost keeps secrets nowhere else", stackName)
	}
	_, file, err := workspace.DetectProjectStackPath(stack.Ref().Name().Q())
	if err != nil {
		return nil, fmt.Errorf("find the settings of stack %s: %w", stackName, err)
	}
	return &Settings{engine: e, stack: stack, file: file}, nil
}

// File is the file in which they are kept.
func (s *Settings) File() string { return s.file }

func (s *Settings) load(ctx context.Context) (*workspace.ProjectStack, error) {
	sink := diag.DefaultSink(io.Discard, s.engine.config.Log, diag.FormatOptions{Color: colors.Never})
	settings, err := cmdstack.LoadProjectStack(ctx, sink, s.engine.project, s.stack, "")
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", s.file, err)
	}
	return settings, nil
}

// Names lists the settings of llmhost's whose names begin with a prefix, sorted, without it.
func (s *Settings) Names(ctx context.Context, prefix string) ([]string, error) {
	settings, err := s.load(ctx)
	if err != nil {
		return nil, err
	}
	var names []string
	for key := range settings.Config {
		if name, ok := strings.CutPrefix(key.Name(), prefix); ok && key.Namespace() == settingsNamespace {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, nil
}

// ErrInClear says that a setting which must be encrypted isn't.
var ErrInClear = errors.New("it is in clear in the stack's settings, where others may have read it")

// Secret decrypts a setting. It is no error when there is none.
func (s *Settings) Secret(ctx context.Context, name string) (value string, ok bool, err error) {
	settings, err := s.load(ctx)
	if err != nil {
		return "", false, err
	}
	v, ok := settings.Config[config.MustMakeKey(settingsNamespace, name)]
	if !ok {
		return "", false, nil
	}
	if !v.Secure() {
		return "", true, ErrInClear
	}
	manager := cmdstack.NewStackSecretsManagerLoaderFromEnv()
	decrypter, _, err := manager.GetDecrypter(ctx, s.stack, settings)
	if err != nil {
		return "", true, err
	}
	value, err = v.Value(decrypter)
	if err != nil {
		return "", true, fmt.Errorf("decrypt %s:%s in %s: %w", settingsNamespace, name, s.file, err)
	}
	return value, true, nil
}

// SetSecrets encrypts settings and writes them at once: a kill leaves the file as it was or as it
// is to be, and never without a key that a host has already.
func (s *Settings) SetSecrets(ctx context.Context, values map[string]string) error {
	settings, err := s.load(ctx)
	if err != nil {
		return err
	}
	manager := cmdstack.NewStackSecretsManagerLoaderFromEnv()
	encrypter, _, err := manager.GetEncrypter(ctx, s.stack, settings)
	if err != nil {
		return err
	}
	for name, value := range values {
		sealed, err := encrypter.EncryptValue(ctx, value)
		if err != nil {
			return fmt.Errorf("encrypt %s:%s: %w", settingsNamespace, name, err)
		}
		if err := settings.Config.Set(config.MustMakeKey(settingsNamespace, name), config.NewSecureValue(sealed), false); err != nil {
			return fmt.Errorf("set %s:%s: %w", settingsNamespace, name, err)
		}
	}
	return s.save(settings)
}

// save has Pulumi write the file beside the old one, which it then replaces.
func (s *Settings) save(settings *workspace.ProjectStack) error {
	folder, err := os.MkdirTemp("", "llmhost-settings-")
	if err != nil {
		return fmt.Errorf("write %s: %w", s.file, err)
	}
	defer os.RemoveAll(folder)
	written := filepath.Join(folder, filepath.Base(s.file))
	if err := settings.Save(written); err != nil {
		return fmt.Errorf("write %s: %w", s.file, err)
	}
	content, err := os.ReadFile(written)
	if err != nil {
		return fmt.Errorf("write %s: %w", s.file, err)
	}
	if err := atomicfile.Write(s.file, content); err != nil {
		return fmt.Errorf("write %s: %w", s.file, err)
	}
	return nil
}
