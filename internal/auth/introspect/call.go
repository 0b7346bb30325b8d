package introspect

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// MaxBody is the most that is read of an answer.
const MaxBody = 64 << 10

// refused is an answer that says more of the question than of the server: it does not count against it.
type refused struct{ status int }

func (r refused) Error() string { return fmt.Sprintf("introspection: status %d", r.status) }

// call asks once (RFC 7662, 2.1). Redirects are not followed: nobody but the configuration says who sees tokens.
func (c *Client) call(ctx context.Context, token string) ([]byte, error) {
	form := url.Values{"token": {token}, "token_type_hint": {"access_token"}}.Encode()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.cfg.URL, strings.NewReader(form))
	if err != nil {
		return nil, errors.New("introspection: the URL can't be used")
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	request.Header.Set("Accept", "application/json")
	request.SetBasicAuth(c.user, c.secret)
	// Nothing is sent of this: it lets net/http ask again on another connection when the server closed a kept one.
	request.Header["Idempotency-Key"] = []string{}
	answer, err := c.http.Do(request)
	if err != nil {
		var wrapped *url.Error
		if errors.As(err, &wrapped) { // its text holds the URL, whose query may be confidential
			err = wrapped.Err
		}
		return nil, fmt.Errorf("introspection: %w", err)
	}
	defer answer.Body.Close()
	return read(answer)
}

func read(answer *http.Response) ([]byte, error) {
	switch {
	case answer.StatusCode == http.StatusOK:
	case answer.StatusCode == http.StatusBadRequest || answer.StatusCode == http.StatusRequestEntityTooLarge:
		return nil, refused{answer.StatusCode}
	default: // 401 and 403 are about our own credentials
		return nil, fmt.Errorf("introspection: status %d", answer.StatusCode)
	}
	kind, _, err := mime.ParseMediaType(answer.Header.Get("Content-Type"))
	if err != nil || kind != "application/json" {
		return nil, errors.New("introspection: the answer is not application/json")
	}
	body, err := io.ReadAll(io.LimitReader(answer.Body, MaxBody+1))
	if err != nil {
		return nil, fmt.Errorf("introspection: %w", err)
	}
	if len(body) > MaxBody {
		return nil, fmt.Errorf("introspection: more than %d bytes", MaxBody)
	}
	if !sound(body) {
		return nil, errors.New("introspection: the answer is no sound JSON object")
	}
	return body, nil
}

// sound demands one JSON object with nothing behind it, no name twice and valid UTF-8 (RFC 7493): of anything else two readers
// may understand two things.
func sound(body []byte) bool {
	value := jsontext.Value(body)
	return value.Kind() == jsontext.KindBeginObject && value.IsValid()
}
