package auth

import (
	"fmt"
	"strings"
	"time"

	"github.com/oncegate/oncegate/internal/pipeline"
)

// loginRule demands how and when the user logged in (RFC 9470). Unlike other rules it is met by a new login, so the client is
// told which: that says nothing of the token.
type loginRule struct {
	kinds  []string // of acr; none: any
	maxAge float64  // seconds since auth_time; 0: any
}

func newLoginRule(r Require) rule {
	challenge := `Bearer realm="oncegate", error="insufficient_user_authentication"`
	var words []string
	if len(r.ACR) > 0 {
		challenge += `, acr_values="` + strings.Join(r.ACR, " ") + `"`
		words = append(words, "login of kind "+strings.Join(r.ACR, " or "))
	}
	if r.MaxAge > 0 {
		challenge += fmt.Sprintf(`, max_age="%d"`, int(r.MaxAge.Std().Seconds()))
		words = append(words, "login at most "+r.MaxAge.String()+" ago")
	}
	return rule{WeakLogin, strings.Join(words, ", "), loginRule{r.ACR, r.MaxAge.Std().Seconds()}, []byte(challenge)}
}

// matches takes a claim of another type, and a login in the future beyond any clock's error, for none.
func (r loginRule) matches(x *pipeline.Exchange, c *claims) bool {
	if kind, ok := c.textOf("acr"); len(r.kinds) > 0 && (!ok || !among(kind, r.kinds)) {
		return false
	}
	if r.maxAge == 0 {
		return true
	}
	now := x.Start
	if now.IsZero() {
		now = time.Now()
	}
	at, given, ok := c.date("auth_time")
	return ok && given && seconds(now)-at <= r.maxAge && at-seconds(now) <= maxLeeway
}

// maxLeeway is the largest leeway that an issuer can have, in seconds.
const maxLeeway = 120
