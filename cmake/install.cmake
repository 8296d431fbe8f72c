# SPDX-License-Identifier: Apache-2.0
# Where built things lie: BUILD/lib and BUILD/bin, in the bundle lib/ and bin/, in the wheel kernel_pytorch/lib and bin.
# Everything finds libkpt.so by $ORIGIN, so each of the three can be moved as a whole. libkpt_torch.so names no folder of
# torch: Python has loaded torch's libraries before, and the loader takes those of the same name.
set(lib_targets kpt)
if(TARGET kpt_torch)
  list(APPEND lib_targets kpt_torch)
endif()
set_target_properties(${lib_targets} PROPERTIES LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/lib
  INSTALL_RPATH "$ORIGIN")
set_target_properties(kpt_cli PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin INSTALL_RPATH "$ORIGIN/../lib")
install(TARGETS ${lib_targets} LIBRARY DESTINATION lib COMPONENT kpt)
install(TARGETS kpt_cli RUNTIME DESTINATION bin COMPONENT kpt)
