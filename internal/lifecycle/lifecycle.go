// Package lifecycle tells clients of a route which version of an API they use, and when it ends.
//
// It promises the fields Deprecation (RFC 9745), Sunset (RFC 8594) and Link on every answer of the route, refusals included,
// and one count of requests by version. It does not choose a version: the route's match does. With after_sunset: gone the
// route answers 410 from that moment on.
package lifecycle

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/units"
)

// Config is a route's version.
type Config struct {
	Name        string `yaml:"name" required:"true" nonempty:"true" doc:"The version, as metrics name it."`
	Deprecated  string `yaml:"deprecated" doc:"Since when it is deprecated: 2027-01-31 or 2027-01-31T08:00:00Z."`
	Sunset      string `yaml:"sunset" doc:"When it ends: 2027-06-30 or 2027-06-30T08:00:00Z."`
	Link        string `yaml:"link" doc:"URL of a page about it."`
	AfterSunset string `yaml:"after_sunset" default:"serve" enum:"serve gone" doc:"What happens after sunset; gone answers 410."`
}

// Recorder counts requests by version. It must not block.
type Recorder interface {
	VersionUsed(route, version string)
}

// Validate checks dates and link.
func (c *Config) Validate(p units.Problems) {
	deprecated, err := units.Instant(c.Deprecated)
	if err != nil {
		p.Key("deprecated").Add("%s", err)
	}
	sunset, err := units.Instant(c.Sunset)
	if err != nil {
		p.Key("sunset").Add("%s", err)
	}
	if !deprecated.IsZero() && !sunset.IsZero() && sunset.Before(deprecated) {
		p.Key("sunset").Add("is before deprecated (RFC 8594 and RFC 9745 have it after)")
	}
	if u, err := url.Parse(c.Link); c.Link != "" && (err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || strings.ContainsAny(c.Link, "<>\" ")) {
		p.Key("link").Add("%q is not a URL with http or https", c.Link)
	}
	if c.AfterSunset == "gone" && c.Sunset == "" {
		p.Key("after_sunset").Add("gone needs a sunset")
	}
}

// Words says what clients are told, for explain.
func (c *Config) Words() string {
	words := []string{c.Name}
	if c.Deprecated != "" {
		words = append(words, "deprecated since "+c.Deprecated)
	}
	if c.Sunset != "" {
		words = append(words, "ends at "+c.Sunset)
	}
	if c.AfterSunset == "gone" {
		words = append(words, "then 410 gone")
	}
	return strings.Join(words, ", ")
}

// Ended reports that the route answers 410.
func (c *Config) Ended(now time.Time) bool {
	sunset, err := units.Instant(c.Sunset)
	return c.AfterSunset == "gone" && err == nil && !sunset.IsZero() && !now.Before(sunset)
}

// New makes the layer of a route. rec may be nil.
func New(cfg Config, route string, rec Recorder) (pipeline.Layer, error) {
	v := &version{name: cfg.Name, route: route, rec: rec}
	deprecated, err := units.Instant(cfg.Deprecated)
	if err != nil {
		return nil, err
	}
	sunset, err := units.Instant(cfg.Sunset)
	if err != nil {
		return nil, err
	}
	if !deprecated.IsZero() {
		v.add("Deprecation", "@"+strconv.FormatInt(deprecated.Unix(), 10))
	}
	if !sunset.IsZero() {
		v.add("Sunset", sunset.UTC().Format(http.TimeFormat))
	}
	if cfg.AfterSunset == "gone" {
		v.end = sunset
	}
	if cfg.Link != "" {
		rel := "deprecation"
		if deprecated.IsZero() {
			rel = "sunset"
		}
		v.add("Link", "<"+cfg.Link+`>; rel="`+rel+`"; type="text/html"`)
	}
	return func(next pipeline.Handler) pipeline.Handler {
		own := *v
		own.next = next
		return &own
	}, nil
}

type version struct {
	next        pipeline.Handler
	name, route string
	rec         Recorder
	fields      []pipeline.Field
	end         time.Time // zero: none
}

func (v *version) add(name, value string) {
	v.fields = append(v.fields, pipeline.Field{Name: name, Value: []byte(value)})
}

// Serve implements pipeline.Handler.
func (v *version) Serve(ctx context.Context, x *pipeline.Exchange) error {
	if v.rec != nil {
		v.rec.VersionUsed(v.route, v.name)
	}
	var err error
	if v.end.IsZero() || x.Start.Before(v.end) {
		err = v.next.Serve(ctx, x)
	} else {
		err = pipeline.Gone
	}
	for i := range v.fields {
		f := &v.fields[i]
		if f.Name == "Link" {
			x.Response.Add(f.Name, f.Value) // an upstream may have links of its own
		} else {
			x.Response.Set(f.Name, f.Value)
		}
	}
	return err
}
