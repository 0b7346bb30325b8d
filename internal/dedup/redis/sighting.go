package redis

import (
	"context"
	"errors"
	"fmt"
	"strings"

	goredis "github.com/redis/go-redis/v9"
)

var errNotPrimary = errors.New("the server is a replica")

// sighting is what a server said about itself.
type sighting struct {
	identity string // changes with its process and with its data's history
	primary  bool
	replicas int // that are online
	fields   map[string]string
}

// What INFO is asked for: of each new connection, and by the watcher.
var (
	sectionsOfGreeting = []string{"server", "replication"}
	sectionsOfWatch    = []string{"server", "replication", "memory", "persistence"}
)

// asker is a client, or one of its connections.
type asker interface {
	Pipeline() goredis.Pipeliner
}

// look asks a server about itself. INFO takes several sections only since Redis 7.
func look(ctx context.Context, who asker, sections []string) (*sighting, error) {
	ctx, cancel := within(ctx, probeTimeout)
	defer cancel()
	pipe := who.Pipeline()
	replies := make([]*goredis.StringCmd, len(sections))
	for i, section := range sections {
		replies[i] = pipe.Info(ctx, section)
	}
	if _, err := pipe.Exec(ctx); err != nil { // not only the replies': see node.send
		return nil, err
	}
	s := &sighting{fields: map[string]string{}}
	for _, reply := range replies {
		text, err := reply.Result()
		if err != nil {
			return nil, err
		}
		s.read(text)
	}
	s.primary = s.fields["role"] == "master"
	s.identity = s.fields["run_id"] + "/" + s.fields["master_replid"]
	if s.fields["run_id"] == "" || s.fields["role"] == "" {
		return nil, fmt.Errorf("INFO tells neither run_id nor role")
	}
	return s, nil
}

func (s *sighting) read(text string) {
	for line := range strings.Lines(text) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), ":")
		if !ok {
			continue
		}
		s.fields[name] = value
		if strings.HasPrefix(name, "slave") && strings.Contains(value, "state=online") {
			s.replicas++
		}
	}
}
