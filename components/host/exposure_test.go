package host

import (
	"strings"
	"testing"
)

// A host file says how exposed its services may be, and what exceeds that is refused as a whole:
// nothing is declared.
func TestMaxExposureRefuses(t *testing.T) {
	h := parse(t, "testdata/full.hcl")
	h.MaxExposure = 10
	if _, err := declare(t, h); err != nil {
		t.Fatalf("the worst score there is was refused: %v", err)
	}
	h.MaxExposure = 0.1
	resources, err := declare(t, h)
	if err == nil {
		t.Fatal("services that are too exposed were accepted")
	}
	for _, r := range resources {
		if r.Type != "pulumi:providers:llmhost" {
			t.Errorf("%s %s was declared on the way", r.Type, r.Name)
		}
	}
	for _, want := range []string{"full.hcl:", "llmhost-verify.service would be exposed by 1.", "max_exposure is 0.1", "runs as root (User=/DynamicUser=)", "relaxed: UMask=0007 because", "llmhost harden -s full"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error doesn't say %q:\n%v", want, err)
		}
	}
}
