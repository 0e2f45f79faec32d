package grid

// asksConsent says whether a scenario asks for consents: then what is said is taken before every message, for who withdraws one is not to be
// looked at once more. Without such a scenario it is taken each second.
func (s *session) asksConsent() bool {
	if s.consentsOf != s.bundle {
		s.consentsOf, s.consents = s.bundle, false
		for _, one := range s.bundle.Rules.Scenarios {
			s.consents = s.consents || one.ConsentScope != ""
		}
	}
	return s.consents
}
