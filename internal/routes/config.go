package routes

// Match says which requests a route takes.
type Match struct {
	Hosts   []string          `yaml:"hosts" nonempty:"true" doc:"Host names, exact or *.suffix; none means every host."`
	Path    string            `yaml:"path" required:"true" nonempty:"true" doc:"Exact (/a/b), with parameters (/users/{id}) or a subtree (/files/**)."`
	Methods []string          `yaml:"methods" nonempty:"true" doc:"Methods; none means every method. HEAD follows GET."`
	Headers map[string]string `yaml:"headers" nonempty:"true" doc:"Header fields that must have exactly these values."`
	Query   map[string]string `yaml:"query" nonempty:"true" doc:"Query parameters that must have exactly these values."`
}
