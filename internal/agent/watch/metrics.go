package watch

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/llmhost/llmhost/internal/agent/durable"
	"github.com/llmhost/llmhost/internal/agent/models"
)

// MetricsFile is the file's name in the metrics' folder. Prometheus' node_exporter reads such
// files with --collector.textfile.directory.
const MetricsFile = "models.prom"

// measured is what is known of one model.
type measured struct {
	name     string
	bytes    uint64
	verified time.Time // zero: never
	fault    string    // empty: the model is as its record says
}

func (m *measured) of(seen *models.Model) {
	m.bytes = seen.Size
	if v := seen.Verified; v != nil {
		m.verified = time.Unix(v.Unix, 0)
	}
}

// metrics are those of one run.
type metrics struct {
	begun  time.Time
	models []measured
	broken int // records that can't be read
}

// text is in Prometheus' text format, version 0.0.4.
func (m *metrics) text(now time.Time) string {
	var b strings.Builder
	family := func(name, help string, value func(measured) (float64, bool)) {
		fmt.Fprintf(&b, "# HELP %s %s\n# TYPE %s gauge\n", name, help, name)
		for _, model := range m.models {
			if v, ok := value(model); ok {
				fmt.Fprintf(&b, "%s{model=%s} %s\n", name, label(model.name), number(v))
			}
		}
	}
	family("llmhost_model_verified", "1 when the model was as pinned when it was last looked at, else 0.", func(m measured) (float64, bool) {
		if m.fault != "" {
			return 0, true
		}
		return 1, true
	})
	family("llmhost_model_last_verified_timestamp_seconds", "When the model was last read from beginning to end.", func(m measured) (float64, bool) {
		return float64(m.verified.Unix()), !m.verified.IsZero()
	})
	family("llmhost_model_bytes", "Size of all files of the model.", func(m measured) (float64, bool) {
		return float64(m.bytes), true
	})
	single := func(name, help string, value float64) {
		fmt.Fprintf(&b, "# HELP %s %s\n# TYPE %s gauge\n%s %s\n", name, help, name, name, number(value))
	}
	single("llmhost_models_broken_records", "Records of models that could not be read.", float64(m.broken))
	single("llmhost_models_verify_duration_seconds", "How long the last verification of the models took.", now.Sub(m.begun).Seconds())
	single("llmhost_models_verify_timestamp_seconds", "When the last verification of the models ended.", float64(now.Unix()))
	return b.String()
}

func number(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }

// label quotes a label's value as the format wants it.
func label(v string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(v) + `"`
}

// write replaces the file as a whole, so that a scrape never sees half of it.
func (m *metrics) write(folder string, now time.Time) error {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	a := durable.Attributes{UID: os.Geteuid(), GID: os.Getegid(), Mode: 0o644}
	return durable.WriteFile(filepath.Join(folder, MetricsFile), []byte(m.text(now)), a)
}
