package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// chatServer answers each request with a status and a body and keeps what it was asked.
func chatServer(t *testing.T, status int, body string) (dial func(context.Context) (net.Conn, error), asked *chatRequest) {
	t.Helper()
	asked = &chatRequest{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v1/chat/completions" {
			t.Errorf("asked for %s", r.URL.Path)
		}
		if err := json.NewDecoder(r.Body).Decode(asked); err != nil {
			t.Error(err)
		}
		w.WriteHeader(status)
		fmt.Fprint(w, body)
	}))
	t.Cleanup(server.Close)
	return func(ctx context.Context) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "tcp", server.Listener.Addr().String())
	}, asked
}

const streamed = `: a comment

data: {"choices":[{"delta":{"role":"assistant","content":null}}]}

data: {"choices":[{"delta":{"content":"Two "}}]}

data: {"choices":[{"delta":{"content":"words"}}]}

data: {"choices":[{"delta":{},"finish_reason":"stop"}]}

data: {"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":2}}

data: [DONE]

`

func TestChatStreamsTheAnswer(t *testing.T) {
	dial, got := chatServer(t, http.StatusOK, streamed)
	var pieces []string
	answer, err := chat(t.Context(), dial, chatRequest{Model: "tiny", Messages: []chatMessage{{"user", "How many?"}}, MaxTokens: 9},
		func(piece string) error { pieces = append(pieces, piece); return nil })
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"Two ", "words"}, pieces); diff != "" {
		t.Errorf("pieces: %s", diff)
	}
	if diff := cmp.Diff(chatAnswer{Text: "Two words", FinishReason: "stop", PromptTokens: 7, CompletionTokens: 2}, answer); diff != "" {
		t.Errorf("answer: %s", diff)
	}
	want := &chatRequest{Model: "tiny", Messages: []chatMessage{{"user", "How many?"}}, MaxTokens: 9, Stream: true, StreamOptions: map[string]any{"include_usage": true}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("request: %s", diff)
	}
}

func TestChatWithoutAWholeAnswerFails(t *testing.T) {
	for name, tc := range map[string]struct {
		status int
		body   string
		part   string
	}{
		"broken off":      {200, strings.TrimSuffix(streamed, "data: [DONE]\n\n"), "broke off"},
		"error in stream": {200, "data: {\"error\":{\"message\":\"out of memory\"}}\n\n", "out of memory"},
		"no JSON":         {200, "data: <html>\n\n", "not understood"},
		"loading":         {503, `{"error":{"message":"Loading model"}}`, "Loading model (HTTP 503)"},
		"another server":  {404, "not found\n", "not found (HTTP 404)"},
	} {
		dial, _ := chatServer(t, tc.status, tc.body)
		_, err := chat(t.Context(), dial, chatRequest{}, func(string) error { return nil })
		if err == nil || !strings.Contains(err.Error(), tc.part) {
			t.Errorf("%s: got %v, want %q", name, err, tc.part)
		}
	}
}

func TestChatShowsNoInnerAddress(t *testing.T) {
	refused := func(context.Context) (net.Conn, error) { return nil, fmt.Errorf("no server answers") }
	_, err := chat(t.Context(), refused, chatRequest{}, nil)
	if err == nil || err.Error() != "no server answers" {
		t.Errorf("got %v, want the dial's own error", err)
	}
}
