package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/llmhost/llmhost/internal/hostfile"
	"github.com/llmhost/llmhost/internal/remote"
)

// asked is a question's result.
type asked struct {
	Host             string  `json:"host"`
	Server           string  `json:"server"`
	Model            string  `json:"model"`
	Answer           string  `json:"answer"`
	FinishReason     string  `json:"finishReason"` // stop, or length when --max-tokens cut it off
	PromptTokens     int     `json:"promptTokens"`
	CompletionTokens int     `json:"completionTokens"`
	Seconds          float64 `json:"seconds"` // from the request to the end of the answer
}

func newAskCmd() *cobra.Command {
	var stack, server string
	var maxTokens int
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "ask QUESTION…",
		Short: "Ask a model on a host, over the deployment's own connection",
		Long: "Send a question to a model server and print the answer as it comes. It goes over SSH to the socket\n" +
			"or the loopback port that the server listens on, so it works for servers that no network reaches.\n" +
			"With - as the question, it is read from standard input.\n\n" +
			"The exit code is 0 after a whole answer, and 1 otherwise.",
		Example: "  llmhost ask -s desktop --server hybrid \"What is a mutex?\"\n  git diff | llmhost ask -s desktop -",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return errors.New("what is the question? `llmhost ask QUESTION…`, or - to read it from standard input")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			question := strings.Join(args, " ")
			if question == "-" {
				raw, err := io.ReadAll(cmd.InOrStdin())
				if err != nil {
					return fmt.Errorf("read the question: %w", err)
				}
				question = string(raw)
			}
			if strings.TrimSpace(question) == "" {
				return errors.New("the question is empty")
			}
			if maxTokens < 0 {
				return errors.New("--max-tokens: less than 0 tokens can't be asked for")
			}
			h, err := loadHost(stack)
			if err != nil {
				return err
			}
			s, err := serverOf(h, server)
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			each := func(piece string) error { _, err := io.WriteString(out, piece); return err }
			if asJSON {
				each = func(string) error { return nil }
			}
			result, err := askServer(cmd, h, s, question, maxTokens, each)
			if err != nil {
				return err
			}
			if asJSON {
				return encodeJSON(out, result)
			}
			_, err = fmt.Fprintln(out)
			return err
		},
	}
	cmd.Flags().StringVarP(&stack, "stack", "s", "", "the host to ask")
	cmd.Flags().StringVar(&server, "server", "", "the server to ask, when the host has several")
	cmd.Flags().IntVar(&maxTokens, "max-tokens", 0, "end the answer after this many tokens (0: the server decides)")
	cmd.Flags().BoolVar(&asJSON, "json", false, "as JSON: host, server, model, answer, finishReason, promptTokens, completionTokens, seconds")
	return cmd
}

func askServer(cmd *cobra.Command, h *hostfile.Host, s *hostfile.Server, question string, maxTokens int, each func(string) error) (*asked, error) {
	ctx, stop := untilInterrupted(cmd)
	defer stop()
	key, err := apiKeyOf(cmd, h, s)
	if err != nil {
		return nil, err
	}
	conn, err := remote.Dial(ctx, targetOf(h), connection(cmd))
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	start := time.Now()
	answer, err := chat(ctx, func(ctx context.Context) (net.Conn, error) { return conn.DialServer(ctx, addressOf(s)) },
		chatRequest{Model: s.Model, Messages: []chatMessage{{Role: "user", Content: question}}, MaxTokens: maxTokens, Key: key}, each)
	if err != nil {
		if ctx.Err() != nil {
			return nil, errors.New("interrupted")
		}
		return nil, fmt.Errorf("server %s gave no answer: %w", s.Name, err)
	}
	return &asked{
		Host: h.Name, Server: s.Name, Model: s.Model,
		Answer: answer.Text, FinishReason: answer.FinishReason,
		PromptTokens: answer.PromptTokens, CompletionTokens: answer.CompletionTokens,
		Seconds: time.Since(start).Seconds(),
	}, nil
}
