package cli

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
)

// chatRequest is what /v1/chat/completions takes, as far as llmhost asks for it.
type chatRequest struct {
	Model         string         `json:"model"`
	Messages      []chatMessage  `json:"messages"`
	MaxTokens     int            `json:"max_tokens,omitempty"`
	Stream        bool           `json:"stream"`
	StreamOptions map[string]any `json:"stream_options,omitempty"`
	Key           string         `json:"-"` // sent as a bearer token unless it is empty
}

type chatMessage struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

// chatChunk is one event of the streamed answer.
type chatChunk struct {
	Choices []struct {
		Delta        struct{ Content string } `json:"delta"`
		FinishReason string                   `json:"finish_reason"`
	} `json:"choices"`
	Usage *struct {
		PromptTokens     int `json:"prompt_tokens"`
		CompletionTokens int `json:"completion_tokens"`
	} `json:"usage"`
	Error *chatError `json:"error"`
}

type chatError struct {
	Message string `json:"message"`
}

// chatAnswer is the whole of an answer.
type chatAnswer struct {
	Text             string
	FinishReason     string
	PromptTokens     int
	CompletionTokens int
}

// chat asks a model server and calls each with every piece of the answer.
func chat(ctx context.Context, dial func(context.Context) (net.Conn, error), request chatRequest, each func(string) error) (chatAnswer, error) {
	request.Stream, request.StreamOptions = true, map[string]any{"include_usage": true}
	body, err := json.Marshal(request)
	if err != nil {
		return chatAnswer{}, err
	}
	client := &http.Client{Transport: &http.Transport{
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) },
		DisableKeepAlives: true,
	}}
	// Ollama refuses requests for another host than its own.
	post, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://localhost/v1/chat/completions", bytes.NewReader(body))
	if err != nil {
		return chatAnswer{}, err
	}
	post.Header.Set("Content-Type", "application/json")
	post.Header.Set("Accept", "text/event-stream")
	if request.Key != "" {
		post.Header.Set("Authorization", "Bearer "+request.Key)
	}
	response, err := client.Do(post)
	if err != nil {
		return chatAnswer{}, withoutURL(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return chatAnswer{}, refusal(response)
	}
	return readEvents(response.Body, each)
}

// readEvents reads the events of an answer until the one that says that it is complete.
func readEvents(r io.Reader, each func(string) error) (chatAnswer, error) {
	var answer chatAnswer
	var text strings.Builder
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 4<<20)
	for lines.Scan() {
		data, ok := strings.CutPrefix(lines.Text(), "data:")
		if !ok {
			continue // event names, comments and the lines between events
		}
		data = strings.TrimSpace(data)
		if data == "[DONE]" {
			answer.Text = text.String()
			return answer, nil
		}
		var chunk chatChunk
		if err := json.Unmarshal([]byte(data), &chunk); err != nil {
			return answer, fmt.Errorf("the server's answer is not understood: %w", err)
		}
		if chunk.Error != nil {
			return answer, errors.New("the server broke off: " + chunk.Error.Message)
		}
		if chunk.Usage != nil {
			answer.PromptTokens, answer.CompletionTokens = chunk.Usage.PromptTokens, chunk.Usage.CompletionTokens
		}
		for _, choice := range chunk.Choices {
			if choice.FinishReason != "" {
				answer.FinishReason = choice.FinishReason
			}
			if choice.Delta.Content == "" {
				continue
			}
			text.WriteString(choice.Delta.Content)
			if err := each(choice.Delta.Content); err != nil {
				return answer, err
			}
		}
	}
	if err := lines.Err(); err != nil {
		return answer, fmt.Errorf("the answer broke off: %w", err)
	}
	return answer, errors.New("the answer broke off: the server closed the connection")
}

// refusal is the error of an answer that is not 200.
func refusal(response *http.Response) error {
	raw, _ := io.ReadAll(io.LimitReader(response.Body, 64<<10)) // what can't be read is left out
	var parsed struct {
		Error chatError `json:"error"`
	}
	why := strings.TrimSpace(string(raw))
	if json.Unmarshal(raw, &parsed) == nil && parsed.Error.Message != "" {
		why = parsed.Error.Message
	}
	if response.StatusCode == http.StatusUnauthorized {
		why += "; a key that was rotated is on the host after the next `llmhost up`"
	}
	return fmt.Errorf("the server refuses: %s (HTTP %d)", why, response.StatusCode)
}

// withoutURL drops the address that only exists inside this process.
func withoutURL(err error) error {
	for {
		inner := errors.Unwrap(err)
		if inner == nil || !strings.Contains(err.Error(), "http://localhost") {
			return err
		}
		err = inner
	}
}
