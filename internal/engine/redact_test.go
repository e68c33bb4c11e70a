package engine

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/common/util/logging"

	"github.com/llmhost/llmhost/internal/hostfile"
	"github.com/llmhost/llmhost/internal/secrets"
)

// A secret is taken out of a log line whatever it is logged as, and the rest of the line stays.
func TestSecretsAreTakenOutOfLogs(t *testing.T) {
	var logged bytes.Buffer
	before, verbose := slog.Default(), logging.Verbose
	t.Cleanup(func() { slog.SetDefault(before); logging.Verbose = verbose })
	logging.Verbose = 11
	slog.SetDefault(slog.New(slog.NewTextHandler(&logged, nil)))
	HideSecrets()
	logging.AddGlobalFilter(logging.CreateFilter([]string{"hf_private"}, "[secret]")) // as Pulumi does with the settings

	one, two := secrets.NewKey(hostfile.SecretAPIKey), secrets.NewKey(hostfile.SecretHMAC)
	inputs := resource.PropertyMap{
		"content": resource.MakeSecret(resource.NewProperty(one + "\n" + two)),
		"token":   resource.NewProperty("hf_private"), "path": resource.NewProperty("/etc/a"),
	}
	logging.V(7).Infof("planned %d inputs (inputs=%v)", len(inputs), inputs)
	logging.V(9).Infof("said %s", one)
	logging.Errorf("failed: %v", inputs["content"])
	slog.Info("asked", "with", inputs)
	slog.With("token", two).Info("asked")
	text := logged.String()
	for _, secret := range []string{one[5:20], two[5:20], "hf_private"} {
		if strings.Contains(text, secret) {
			t.Errorf("logged: %s", text)
		}
	}
	if !strings.Contains(text, "planned 3 inputs") || !strings.Contains(text, "/etc/a") || strings.Count(text, "[secret]") < 5 {
		t.Errorf("logged: %s", text)
	}
}
