package units

// Mistaken is an error of a scalar with what was probably meant.
type Mistaken struct{ Message, Meant string }

func (m *Mistaken) Error() string { return m.Message }
