package models

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"github.com/llmhost/llmhost/internal/agent/digest"
	"github.com/llmhost/llmhost/internal/agent/durable"
)

// VerifyOptions say how to verify a model.
type VerifyOptions struct {
	// Want is the digest that it should have; empty: the one that is remembered of it.
	Want string
	// Idle reads only when nobody else wants the disk (ioprio_set(2), class idle).
	Idle     bool
	Remember bool // keep the result
	Progress func(file string, done, total uint64)
	// Also judges a model that has the right digest; nil: nothing else is judged. Its error is
	// the failure.
	Also func(*Model) error
}

// Verify reads a whole model from the disk. The model's Verified is the result. An error means
// that it could not be tried; that it isn't as it should be is a result.
func Verify(ctx context.Context, cache digest.Cache, path string, o VerifyOptions) (*Model, error) {
	if !o.Idle {
		return verify(ctx, cache, path, o)
	}
	type result struct {
		m   *Model
		err error
	}
	done := make(chan result)
	go func() {
		// The class is the thread's. It isn't unlocked, so that the thread ends with the goroutine.
		runtime.LockOSThread()
		setIdle()
		m, err := verify(ctx, cache, path, o)
		done <- result{m, err}
	}()
	r := <-done
	return r.m, r.err
}

// setIdle puts the calling thread into the idle class (include/uapi/linux/ioprio.h). Where that
// isn't possible the disk is simply read.
func setIdle() {
	const whoProcess, classIdle, classShift = 1, 3, 13
	_, _, _ = unix.Syscall(unix.SYS_IOPRIO_SET, whoProcess, 0, classIdle<<classShift)
}

func verify(ctx context.Context, cache digest.Cache, path string, o VerifyOptions) (*Model, error) {
	l := &look{cache: cache, record: cache.Load(path), model: &Model{Path: path},
		options: Options{Again: true, Progress: o.Progress}}
	defer l.close()
	failure := ""
	err := l.survey()
	switch {
	case err != nil:
		return nil, err
	case !l.model.Exists:
		failure = "there is no model"
	case l.model.Unusable != "":
		failure = l.model.Unusable
	default:
		l.recall()
		if failure, err = l.judge(ctx, o); err != nil {
			return nil, err
		}
	}
	l.model.Verified = &digest.Verification{Unix: time.Now().Unix(), Failure: failure}
	if o.Remember && l.model.Exists {
		l.model.Remember(cache)
	}
	return l.model, nil
}

// judge reads the model and says what is wrong with it.
func (l *look) judge(ctx context.Context, o VerifyOptions) (failure string, err error) {
	if err := l.read(ctx); err != nil {
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
		return l.unreadable(err), nil
	}
	l.conclude()
	want := o.Want
	if want == "" {
		want = l.formerly()
	}
	if want != "" && l.model.SHA256 != want {
		return fmt.Sprintf("it has the SHA-256 %s and not %s", l.model.SHA256, want), nil
	}
	if o.Also != nil {
		if err := o.Also(l.model); err != nil {
			return err.Error(), nil
		}
	}
	return "", nil
}

// unreadable says which file couldn't be read. Its identity is kept without a digest, so that it
// isn't read again and again to fail each time.
func (l *look) unreadable(err error) string {
	for _, i := range l.unread {
		f := &l.model.Files[i]
		if l.model.found[i].SHA256 != "" {
			continue
		}
		l.model.found[i] = digest.File{Name: f.Name, Identity: f.Info.Identity, ReadNano: time.Now().UnixNano()}
		l.model.SHA256 = ""
	}
	cause := err
	for inner := errors.Unwrap(cause); inner != nil; inner = errors.Unwrap(cause) {
		cause = inner
	}
	for _, i := range l.unread {
		if f := &l.model.Files[i]; l.model.found[i].SHA256 == "" && f.Name != "" {
			return fmt.Sprintf("%s in it can't be read: %v", f.Name, cause)
		}
	}
	return fmt.Sprintf("it can't be read: %v", cause)
}

// formerly is the digest that the model has by what is remembered of it, if the kernel vouches
// that nothing has changed it since; else it is empty, and nothing can be said.
func (l *look) formerly() string {
	if l.record == nil || len(l.record.Files) != len(l.model.Files) {
		return ""
	}
	was := &Model{Folder: l.model.Folder}
	now := time.Now()
	for i, f := range l.model.Files {
		known := l.record.File(f.Name)
		if known == nil || !known.Holds(f.Info.Identity, l.model.found[i].Verity, now) {
			return ""
		}
		was.Files = append(was.Files, File{Name: f.Name, Info: &durable.Info{}, SHA256: known.SHA256})
	}
	return was.digest()
}
