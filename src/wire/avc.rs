//! H.264 decoder configuration. Spec: ISO/IEC 14496-15, section 5.3.3; ITU-T H.264, section 7.3.2.1.
