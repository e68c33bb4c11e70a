package inference

import (
	"slices"
	"strconv"
	"strings"

	"github.com/llmhost/llmhost/internal/hostfile"
)

// llamaCpp starts llama-server.
//
// Host, port and alias are always given, because llama-server's defaults have changed between
// versions.
func (s *Server) llamaCpp() Command {
	args := []string{"-m", s.entryInside(), "--alias", s.Model.Name}
	args = append(args, s.companionArgs()...)
	if s.Server.Listen.Unix {
		args = append(args, "--host", s.Server.Socket())
	} else {
		args = append(args, "--host", s.bindAddress(), "--port", strconv.Itoa(int(s.Server.Listen.Addr.Port())))
	}
	args = append(args, "-c", strconv.Itoa(s.Server.Context), "-np", strconv.Itoa(s.Server.Parallel))
	if s.Server.Threads > 0 {
		args = append(args, "-t", strconv.Itoa(s.Server.Threads))
	}
	if s.GPU != nil {
		args = append(args, "-ngl", strconv.Itoa(s.Server.GPULayers))
	}
	if s.Server.APIKey != "" {
		args = append(args, "--api-key-file", s.keyFileInside())
	}
	// Options that older versions don't have are variables: an unknown variable is ignored, where
	// an unknown argument ends the server.
	environment := map[string]string{
		// By default any web page that is open in a browser on the same machine may read the
		// answers.
		"LLAMA_ARG_CORS_ORIGINS": "localhost",
		// What the host file says is used as it is, and not changed to fit.
		"LLAMA_ARG_FIT": "off",
		// A model is what was placed and verified, and never something to download.
		"LLAMA_ARG_OFFLINE": "true",
	}
	if s.drafts() {
		// Newer versions load a draft model and leave it idle otherwise.
		environment["LLAMA_ARG_SPEC_TYPE"] = "draft-simple"
	}
	return Command{Program: s.program(), Args: append(args, "--no-webui"), Environment: environment, ShowsSlots: true}
}

// companionArgs load the companions. There is one projector and one draft model; adapters are
// one argument, since llama-server no longer takes several.
func (s *Server) companionArgs() []string {
	var args, adapters []string
	for _, c := range s.Companions {
		switch c.Kind {
		case hostfile.MMProj:
			args = append(args, "--mmproj", s.companionInside(c))
		case hostfile.Draft:
			args = append(args, "--model-draft", s.companionInside(c))
		case hostfile.LoRA:
			adapters = append(adapters, s.companionInside(c))
		}
	}
	if len(adapters) > 0 {
		args = append(args, "--lora", strings.Join(adapters, ","))
	}
	return args
}

// drafts tells whether a small model guesses ahead.
func (s *Server) drafts() bool {
	return slices.ContainsFunc(s.Companions, func(c Companion) bool { return c.Kind == hostfile.Draft })
}
