package local

import (
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

// maxAnswer is how much of a server's answer is read, in bytes.
const maxAnswer = 1 << 20

// Ask asks a model server for one token of a chat completion. No error means that the model
// was loaded and has computed something, which no health check says. A key is sent unless it is
// empty.
func (d Dialer) Ask(ctx context.Context, address, model, key string) error {
	body, err := json.Marshal(map[string]any{
		"model":      model,
		"messages":   []map[string]string{{"role": "user", "content": "Hello"}},
		"max_tokens": 1,
		"stream":     false,
	})
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://localhost/v1/chat/completions", bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	transport := &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return d.Dial(ctx, address)
		},
	}
	defer transport.CloseIdleConnections()
	resp, err := transport.RoundTrip(req) // no redirects: they would lead elsewhere
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("read the server's answer: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("the server answers %s: %s", resp.Status, message(answer))
	}
	var completion struct {
		Choices []json.RawMessage `json:"choices"`
	}
	if err := json.Unmarshal(answer, &completion); err != nil || len(completion.Choices) == 0 {
		return errors.New("the server's answer is no chat completion")
	}
	return nil
}

// message is the server's own words in an error, which OpenAI's API has in error.message.
func message(answer []byte) string {
	var e struct {
		Error struct {
			Message string `json:"message"`
		} `json:"error"`
	}
	if json.Unmarshal(answer, &e) == nil && e.Error.Message != "" {
		return e.Error.Message
	}
	const most = 200
	text := strings.Join(strings.Fields(strings.ToValidUTF8(string(answer), "?")), " ")
	return text[:min(len(text), most)]
}
