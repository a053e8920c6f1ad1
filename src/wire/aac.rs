//! AAC decoder configuration. Spec: ISO/IEC 14496-3, section 1.6.
