package engine

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"

	"github.com/pulumi/pulumi/sdk/v3/go/common/util/logging"

	"github.com/llmhost/llmhost/internal/secrets"
)

// HideSecrets takes secrets out of what Pulumi logs, from now on and at every level: the encrypted
// values of the stack's settings, which Pulumi knows, and llmhost's keys, by their form. It comes
// after the logs were set up (logging.InitLogging).
//
// Pulumi (3.250) looks for secrets in the texts that it logs and not in the values, such as a
// resource's secret inputs, which it logs from -v=7 on.
func HideSecrets() {
	hideKeys()
	slog.SetDefault(slog.New(redacting{slog.Default().Handler()}))
}

// hideKeys has Pulumi take out keys where it takes out secrets.
var hideKeys = sync.OnceFunc(func() { logging.AddGlobalFilter(withoutKeys{}) })

type withoutKeys struct{}

func (withoutKeys) Filter(s string) string { return secrets.Pattern.ReplaceAllString(s, "[secret]") }

// redacting writes a record's text out, with all its values, and takes the secrets out of that.
type redacting struct{ slog.Handler }

// valuePrefix is how Pulumi names the values of a text.
const valuePrefix = "pulumi.log.arg"

func (h redacting) Handle(ctx context.Context, r slog.Record) error {
	var values []any
	var others []slog.Attr
	r.Attrs(func(a slog.Attr) bool {
		if strings.HasPrefix(a.Key, valuePrefix) {
			values = append(values, a.Value.Any())
		} else {
			others = append(others, slog.Any(a.Key, redacted(a.Value)))
		}
		return true
	})
	text := r.Message
	if len(values) > 0 {
		text = fmt.Sprintf(text, values...)
	}
	out := slog.NewRecord(r.Time, r.Level, logging.FilterString(text), r.PC)
	out.AddAttrs(others...)
	return h.Handler.Handle(ctx, out)
}

func redacted(v slog.Value) any {
	switch v.Kind() {
	case slog.KindBool, slog.KindInt64, slog.KindUint64, slog.KindFloat64, slog.KindDuration, slog.KindTime:
		return v.Any()
	}
	return logging.FilterString(v.String())
}

func (h redacting) WithAttrs(attrs []slog.Attr) slog.Handler {
	clean := make([]slog.Attr, 0, len(attrs))
	for _, a := range attrs {
		clean = append(clean, slog.Any(a.Key, redacted(a.Value)))
	}
	return redacting{h.Handler.WithAttrs(clean)}
}

func (h redacting) WithGroup(name string) slog.Handler { return redacting{h.Handler.WithGroup(name)} }
