//! H.265 decoder configuration. Spec: ISO/IEC 14496-15, section 8.3.3; ITU-T H.265, section 7.3.2.2.
